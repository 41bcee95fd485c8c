"""Figures of curves, forecasts and decisions: each takes a result and returns a Matplotlib figure.

Nothing is computed here beyond quantiles of what is given. Bands are 50 % and 90 % intervals. Load this module on
first use only: Matplotlib is slow to import.
"""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.typing import ColorType

from bayes_cpt.backtesting import Backtest
from bayes_cpt.calibration import Calibration
from bayes_cpt.comparison import Comparison
from bayes_cpt.curves import Curves, ancestors
from bayes_cpt.decisions.choose import Decision
from bayes_cpt.decisions.limits import Limit, objective_text
from bayes_cpt.errors import DataError, hint
from bayes_cpt.files import replacing

MOST_RUNS = 8
"""Columns that a figure of forecasts has room for."""
FEW_STEPS = 3
"""Curves of fewer steps need markers to be seen."""
MOST_NAMES = 40
"""Candidates whose names an axis has room for."""
MOST_GROUPS = 12
"""Groups of candidates that a legend has room for."""
PRIOR_DRAWS = 50
PRIOR_RANGE = (0.02, 0.95)
"""Curves of one run in a figure of prior draws."""

BLUE, GREY, RED = "tab:blue", "0.45", "tab:red"
PHASES = {"pt": "Pre-training", "cpt": "Continual pre-training"}
VARIED = {"peak": "peak LR {:g}", "end_step": "{:,} steps", "parent": "from {}"}


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all, in the format that the name ends in, and close it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def _grid(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """Panels of the given size in inches; axes always as an array (rows, columns)."""
    size = (max(columns * width, 6.0), rows * height + 0.8)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)


def _legend(figure: Figure | SubFigure, entries: Mapping[str, Any]) -> None:
    """Put a legend beside the panels; lines in it are thick enough to tell their colour."""
    if not entries:
        return
    legend = figure.legend(
        entries.values(), entries.keys(), loc="outside right center", frameon=False, fontsize="small"
    )
    for line in legend.get_lines():
        line.set_linewidth(max(line.get_linewidth(), 2))


def _entries(axes: Axes) -> dict[str, Any]:
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def _colours(values: Sequence[Hashable]) -> dict[Hashable, ColorType]:
    """One colour a value: in steps of one scale, from dark to light."""
    scale = plt.get_cmap("viridis")
    return {value: scale(place) for value, place in zip(values, np.linspace(0, 0.85, len(values)), strict=True)}


def _wrapped(run: str, width: int) -> str:
    """Return a run's name in lines, broken after underscores."""
    return textwrap.fill(run.replace("_", "_ "), width).replace("_ ", "_")


def _title(figure: Figure, *notes: str) -> None:
    """Put the notes that are not empty on top; a forecast's warning must not get lost."""
    said = [note for note in notes if note]
    if said:
        figure.suptitle(
            "\n".join(textwrap.fill(note, int(10 * figure.get_figwidth())) for note in said), fontsize="medium"
        )


# Curves -------------------------------------------------------------------------------------------------------------


def plot_curves(curves: Curves) -> Figure:
    """Draw losses by domain, one row each, and the learning rate (LR) below; PT and CPT in columns of their own.

    CPT runs have the colour of their replay ratio and count steps from their start; PT runs are grey, and a branch
    goes on from the step at which it leaves its parent.

    Raises
    ------
    DataError
        If there is no run.
    """
    phases = [phase for phase in PHASES if (curves.runs["phase"] == phase).any()]
    if not phases:
        raise DataError("There is no run to draw.")
    domains = _domain_order(curves.losses["domain"].unique())
    figure, axes = _grid(len(domains) + 1, len(phases), 5.0, 2.0, sharex="col")
    entries: dict[str, Any] = {}
    for phase, column in zip(phases, axes.T, strict=True):
        _curves_of_phase(curves, phase, domains, column)
        entries |= _entries(column[-1])
    _legend(figure, entries)
    return figure


def _domain_order(domains: Sequence[str]) -> list[str]:
    """``pt`` and ``cpt`` first, then the rest by name."""
    return sorted(domains, key=lambda domain: (domain != "pt", domain != "cpt", domain))


def _curves_of_phase(curves: Curves, phase: str, domains: Sequence[str], column: Sequence[Axes]) -> None:
    runs = curves.runs[curves.runs["phase"] == phase]
    colours = _colours(sorted(runs["replay"].dropna().unique()))
    for run, replay in runs["replay"].sort_values().items():
        start = sum(curves.runs["parent_step"][[*ancestors(curves, str(run)), run]].dropna()) if phase == "pt" else 0
        style = {
            "color": colours.get(replay, GREY),
            "label": "PT" if phase == "pt" else f"replay {replay:g}",
            "linewidth": 1.0,
            "alpha": 0.85,
        }
        losses, lr = (table[table["run"] == run].sort_values("step") for table in (curves.losses, curves.lr))
        for domain, axes in zip(domains, column, strict=False):
            measured = losses[losses["domain"] == domain]
            axes.plot(start + measured["step"], measured["loss"], **style)
        column[-1].plot(start + lr["step"], lr["lr"], **style)
    column[0].set_title(PHASES[phase])
    for domain, axes in zip(domains, column, strict=False):
        axes.set_ylabel(f"loss on {domain}\n(nats)")
    _learning_rate_axis(column[-1], f"{phase.upper()} step")


def _learning_rate_axis(axes: Axes, steps: str) -> None:
    axes.set(xlabel=steps, ylabel="learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    axes.set_ylim(bottom=0)


# Forecasts ----------------------------------------------------------------------------------------------------------


def plot_forecast(forecast: xr.Dataset, curves: Curves | None = None, runs: Sequence[str] | None = None) -> Figure:
    """Draw bands and the median of forecast losses: a row a domain, a column a run, the learning rate (LR) below.

    Parameters
    ----------
    forecast
        ``loss`` (chain, draw, run, domain, step) and ``learning_rate`` (run, step), NaN beyond the end of a run.
    curves
        Measured losses; those of a run of the same name are drawn as dots.
    runs
        Which runs, at most 8; the first 8 by default.

    Raises
    ------
    DataError
        If a run is not in the forecast, or more than 8 are named.
    """
    shown, note = _shown(forecast, runs)
    domains = forecast["domain"].to_numpy()
    figure, axes = _grid(len(domains) + 1, len(shown), 2.6, 2.2, sharex="col", sharey="row")
    for run, column in zip(shown, axes.T, strict=True):
        part = forecast.sel(run=run).dropna("step", subset=["learning_rate"])  # steps of other runs are empty here
        for domain, panel in zip(domains, column, strict=False):
            _bands(panel, part["loss"].sel(domain=domain))
            if curves is not None:
                _dots(panel, curves.losses, run, domain)
        marker = "." if part.sizes["step"] < FEW_STEPS else None
        column[-1].plot(part["step"], part["learning_rate"], color=GREY, linewidth=1.2, marker=marker)
        column[0].set_title(_run_title(part, run), fontsize="small")
        _learning_rate_axis(column[-1], "step")
    # the axis is shared and its lower end is set, which stops it from growing with later runs
    axes[-1, 0].set_ylim(0, 1.05 * float(forecast["learning_rate"].sel(run=shown).max()) or 1.0)
    for domain, panel in zip(domains, axes[:, 0], strict=False):
        panel.set_ylabel(f"loss on {domain} (nats)")
    for panel in axes[:, 1:].flat:
        panel.set_ylabel("")
    _legend(figure, {label: handle for panel in axes.flat for label, handle in _entries(panel).items()})
    _title(figure, note, forecast.attrs.get("warning", ""))
    return figure


def _run_title(part: xr.Dataset, run: str) -> str:
    name = _wrapped(run, 30)
    outside = str(part["extrapolates"].item()) if "extrapolates" in part.coords else ""
    return f"{name}\nextrapolates: {outside}" if outside else name


def _shown(forecast: xr.Dataset, runs: Sequence[str] | None) -> tuple[list[str], str]:
    """Runs to draw, and what to say about those left out."""
    known = [str(run) for run in forecast["run"].to_numpy()]
    for run in runs or ():
        if run not in known:
            raise DataError(f"The forecast has no run {run!r}{hint(run, known)}.")
    if runs is not None and not 0 < len(runs) <= MOST_RUNS:
        raise DataError(f"A figure shows 1 to {MOST_RUNS} runs, not {len(runs)}: name fewer in runs.")
    note = f"First {MOST_RUNS} of {len(known)} runs" if runs is None and len(known) > MOST_RUNS else ""
    return list(known[:MOST_RUNS] if runs is None else runs), note


def _bands(axes: Axes, loss: xr.DataArray) -> None:
    """Intervals and median of draws (chain, draw, step); steps without a forecast, all NaN, are left out."""
    reached = loss.dropna("step", how="all")
    if not reached.sizes["step"]:  # an out-of-domain set in pre-training
        return
    step = reached["step"].to_numpy()
    q05, q25, q50, q75, q95 = reached.quantile([0.05, 0.25, 0.5, 0.75, 0.95], ["chain", "draw"]).to_numpy()
    few = step.size < FEW_STEPS
    edge = 2.0 if few else 0.0
    axes.fill_between(step, q05, q95, color=BLUE, alpha=0.2, linewidth=edge, label="90 % interval")
    axes.fill_between(step, q25, q75, color=BLUE, alpha=0.35, linewidth=edge, label="50 % interval")
    axes.plot(step, q50, color=BLUE, linewidth=1.2, marker="_" if few else None, label="median")


def _dots(axes: Axes, losses: pd.DataFrame, run: str, domain: str) -> None:
    measured = losses[(losses["run"] == run) & (losses["domain"] == domain)]
    if len(measured):
        axes.plot(measured["step"], measured["loss"], "k.", markersize=3, label="measured")


def plot_prior_predictive(forecast: xr.Dataset) -> Figure:
    """Draw about 50 draws of every run's loss as thin lines, one panel a domain, one colour a run.

    Parameters
    ----------
    forecast
        ``loss`` (chain, draw, run, domain, step), such as draws from the prior.
    """
    loss = forecast["loss"].stack(sample=("chain", "draw"))  # noqa: PD013 - xarray
    thinned = loss.isel(sample=np.unique(np.linspace(0, loss.sizes["sample"] - 1, PRIOR_DRAWS, dtype=int)))
    colours = _colours([str(run) for run in forecast["run"].to_numpy()])
    figure, axes = _grid(1, forecast.sizes["domain"], 4.2, 3.4)
    for domain, panel in zip(forecast["domain"].to_numpy(), axes[0], strict=True):
        for run, colour in colours.items():
            draws = thinned.sel(run=run, domain=domain).transpose("sample", "step").to_numpy()
            lines = [np.column_stack([forecast["step"], draw]) for draw in draws]
            panel.add_collection(LineCollection(lines, color=colour, linewidth=0.5, alpha=0.5, label=run))
        panel.autoscale_view()
        # a prior's first steps reach far beyond what is of interest
        panel.set_ylim(np.nanquantile(thinned.sel(domain=domain), PRIOR_RANGE))
        panel.set(title=domain, xlabel="step", ylabel=f"loss on {domain} (nats)")
    if len(colours) <= MOST_RUNS:
        _legend(figure, _entries(axes[0, 0]))
    _title(figure, f"{thinned.sizes['sample']} draws a run", forecast.attrs.get("warning", ""))
    return figure


def plot_comparison(comparison: Comparison) -> Figure:
    """Draw how far each model's log predictive density of left-out runs falls short of the best, with standard errors.

    ArviZ's figure. Below each name stand its weight in an average and its weighted interval score (WIS).
    """
    table = comparison.table.set_index("model").sort_values("elpd", ascending=False)
    labels = {name: f"{name}\nweight {row['weight']:.2f}, WIS {row['wis']:.4f}" for name, row in table.iterrows()}
    # a single fold has no standard error
    drawn = az.plot_compare(table.rename(index=labels).fillna({"dse": 0.0}), backend="matplotlib")
    figure = drawn.viz["figure"].item()
    figure.set_layout_engine("constrained")
    done = int(table["done"].iloc[0])
    _title(figure, f"interrupted after {done} of {comparison.folds} folds" if done < comparison.folds else "")
    return figure


# Decisions ----------------------------------------------------------------------------------------------------------


def plot_decision(decision: Decision) -> Figure:
    """Draw the objective of the candidates against replay, and below it what each limit looks at.

    Points are means, bars 90 % intervals, colours the other fields in which candidates differ. A candidate that breaks
    a limit is hollow, the chosen one is ringed. A dash is the bound that a candidate needs: it meets the limit if the
    dash is not above the limit's line. If replay does not vary, candidates stand side by side.
    """
    table = decision.table
    by_replay = _varies(table["replay"])
    place = _places(table, by_replay)
    figure, axes = _grid(
        1 + len(decision.limits), 1, 7.5 if by_replay else min(14.0, 5 + 0.25 * len(table)), 2.8, sharex=True
    )
    _candidates(axes[0, 0], table, place, "objective", by_replay)
    axes[0, 0].set_ylabel(f"{objective_text(decision.minimise)}\n(change, nats)")
    for limit, panel in zip(decision.limits, axes[1:, 0], strict=True):
        _candidates(panel, table, place, f"{limit.domain}_{limit.quantity}", by_replay)
        _limit(panel, table, place, limit)
    _candidate_axis(axes[-1, 0], table, by_replay)
    _legend(figure, {label: handle for panel in axes.flat for label, handle in _entries(panel).items()})
    verdict = f"Chosen: {decision.chosen}" if decision.chosen else "No candidate meets the limits"
    groups = _groups(table).nunique()
    unnamed = f"{groups} groups of candidates, too many to name: see the table" if groups > MOST_GROUPS else ""
    _title(figure, verdict, unnamed, decision.draws.attrs.get("warning", ""))
    return figure


def _varies(values: pd.Series) -> bool:
    return len(values.unique()) > 1


def _groups(table: pd.DataFrame) -> pd.Series:
    """What a candidate is beyond its replay: the other fields that vary, as one label."""
    varied = [field for field in VARIED if _varies(table[field])]
    labels = [", ".join(VARIED[field].format(row[field]) for field in varied) for _, row in table.iterrows()]
    return pd.Series(labels, index=table.index)


def _places(table: pd.DataFrame, by_replay: bool) -> pd.Series:
    """Where candidates stand: at their replay, groups a little apart so that bars do not cover each other."""
    if not by_replay:
        return pd.Series(np.arange(len(table)), index=table.index)
    gap = np.diff(np.sort(table["replay"].unique())).min()
    group, names = pd.factorize(_groups(table))
    return table["replay"] + 0.16 * gap * (group - (len(names) - 1) / 2) / max(1, len(names) / 5)


def _candidates(axes: Axes, table: pd.DataFrame, place: pd.Series, name: str, by_replay: bool) -> None:
    groups = _groups(table)
    colours = _colours(sorted(groups.unique()))
    for group, rows in table.groupby(groups, sort=True):
        x, colour = place[rows.index], colours[group]
        mean, low, high = (rows[f"{name}_{of}"] for of in ("mean", "q05", "q95"))
        label = str(group) if 1 < len(colours) <= MOST_GROUPS else None
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
        if by_replay:
            order = x.sort_values().index
            axes.plot(x[order], mean[order], color=colour, linewidth=0.8, alpha=0.6)
        axes.scatter(x, mean, s=28, zorder=3, edgecolors=[colour], facecolors=[colour], label=label)
        broken = ~rows["feasible"]
        axes.scatter(x[broken], mean[broken], s=28, zorder=4, edgecolors=[colour], facecolors="white")
    _marks(axes, table, place, f"{name}_mean")


def _marks(axes: Axes, table: pd.DataFrame, place: pd.Series, name: str) -> None:
    """Ring the chosen candidate, and say in the legend what points and bars are."""
    axes.errorbar([], [], yerr=[], fmt="o", color=GREY, label="mean, 90 % interval")
    chosen = table["chosen"]
    if chosen.any():
        axes.scatter(place[chosen], table.loc[chosen, name], s=150, edgecolors=RED, facecolors="none", label="chosen")
    if not table["feasible"].all():
        axes.scatter([], [], s=28, edgecolors=GREY, facecolors="white", label="breaks a limit")


def _limit(axes: Axes, table: pd.DataFrame, place: pd.Series, limit: Limit) -> None:
    needs = table[f"needs {limit}"]
    axes.scatter(place, needs, marker="_", s=40, color="black", zorder=5, label="bound needed")
    axes.axhline(limit.bound, color=RED, linestyle="--", linewidth=1.2, label="limit")
    what = "change of loss" if limit.quantity == "change" else "loss"
    axes.set_ylabel(f"{what} on {limit.domain}\n(nats)")
    axes.set_title(str(limit), fontsize="small", color=RED)


def _candidate_axis(axes: Axes, table: pd.DataFrame, by_replay: bool) -> None:
    if by_replay:
        axes.set_xlabel("replay ratio (share of pre-training data)")
        return
    if len(table) > MOST_NAMES:
        axes.set_xlabel("candidate (row of the table)")
        return
    axes.set_xlabel("candidate")
    axes.set_xticks(range(len(table)), table["run"], rotation=60, ha="right", fontsize="small")


# Backtests ----------------------------------------------------------------------------------------------------------

LEVELS_SHOWN = np.linspace(0.05, 0.95, 19)


def plot_backtest(result: Backtest) -> Figure:
    """Draw coverage against the nominal level, the PIT, and the bands over the runs that were left out.

    Coverage on the diagonal and a flat PIT are calibrated; coverage below it is too narrow, a PIT with a hump too wide.
    """
    domains = _domain_order(result.points["domain"].unique())
    runs = list(dict.fromkeys(result.points["run"]))[:MOST_RUNS]
    figure = plt.figure(
        figsize=(max(4.4 * len(domains), 2.4 * len(runs) + 1.2), 2.8 + 2.2 * len(domains)), layout="constrained"
    )
    above, below = np.array(figure.subfigures(2, 1, height_ratios=[2.6, 2.2 * len(domains)])).flat
    panels = np.atleast_1d(above.subplots(1, 2 * len(domains)))
    for domain, (coverage, pit) in zip(domains, panels.reshape(-1, 2), strict=True):
        rank = result.points.loc[result.points["domain"] == domain, "pit"].to_numpy()
        held = [(np.abs(rank - 0.5) <= level / 2).mean() for level in LEVELS_SHOWN]
        coverage.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        coverage.plot(LEVELS_SHOWN, held, "o-", color=BLUE, markersize=3)
        coverage.set(title=domain, xlabel="level of intervals", ylabel="points held", xlim=(0, 1), ylim=(0, 1))
        pit.hist(rank, bins=10, range=(0, 1), density=True, color=BLUE, alpha=0.6)
        pit.axhline(1, color=GREY, linewidth=0.8)
        pit.set(title=domain, xlabel="PIT", ylabel="density")
    grid = np.array(below.subplots(len(domains), len(runs), squeeze=False, sharex="col"))
    for domain, row in zip(domains, grid, strict=True):
        for run, axes in zip(runs, row, strict=True):
            here = result.points[(result.points["run"] == run) & (result.points["domain"] == domain)]
            step, look = here["step"], {"color": BLUE, "linewidth": 0}
            axes.fill_between(step, here["q05"], here["q95"], alpha=0.2, label="90 % interval", **look)
            axes.fill_between(step, here["q25"], here["q75"], alpha=0.3, label="50 % interval", **look)
            axes.plot(step, here["loss"], "k.", markersize=2, label="measured")
        row[0].set_ylabel(f"loss on {domain}\n(nats)")
    for run, axes in zip(runs, grid[0], strict=True):
        axes.set_title(_wrapped(run, 18), fontsize="small")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    _legend(below, _entries(grid[0, 0]))
    left = result.points["run"].nunique() - len(runs)
    _title(figure, f"left out by {result.leave}" + (f"; {left} more runs are not drawn" if left else ""))
    return figure


# Calibration --------------------------------------------------------------------------------------------------------

ACROSS = 4
"""Models side by side."""


def plot_calibration(*results: Calibration) -> Figure:
    """Draw how far each parameter's ranks are from uniform: a panel a model, a line a parameter of a domain.

    Lines are cumulative distributions of the ranks less the uniform one. They stay in the band, all lines of a model
    together, with probability 99 % if all ranks are uniform; those that leave it are red and named.
    """
    columns = min(len(results), ACROSS)
    figure, axes = _grid(-(-len(results) // columns), columns, 2.6, 2.1, sharex=True)
    for panel, result in zip(axes.flat, results, strict=False):
        _rank_lines(panel, result)
        panel.set_title(f"{result.model}\n{len(result.ranks):,} simulations", fontsize="small")
    for panel in axes.flat[len(results) :]:
        panel.set_axis_off()
    figure.supxlabel("rank / draws")
    _legend(figure, _entries(axes[0, 0]))
    _title(figure, "Cumulative distribution of ranks less the uniform one")
    return figure


def _rank_lines(axes: Axes, result: Calibration) -> None:
    differences, band = result.differences, result.band
    axes.fill_between(band.index, band["lower"], band["upper"], color=BLUE, alpha=0.2, linewidth=0, label="99 % band")
    for name, line in differences.items():
        leaves = ((line < band["lower"]) | (line > band["upper"])).any()
        axes.plot(line.index, line, color=RED if leaves else GREY, linewidth=1.2 if leaves else 0.7)
        if leaves:
            furthest = int(np.argmax(line.abs()))
            axes.annotate(str(name), (line.index[furthest], line.iloc[furthest]), color=RED, fontsize="x-small")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xlim(0, 1)
