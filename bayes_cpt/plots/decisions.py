"""Figure of a decision."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayes_cpt.decisions.choose import Decision
from bayes_cpt.decisions.limits import Limit
from bayes_cpt.decisions.objectives import objective_text
from bayes_cpt.plots.style import GREY, RED, colour_by, grid, legend_entries, put_legend, put_title

MOST_NAMES = 40
"""Maximum number of candidates that are named on an axis."""
MOST_GROUPS = 12
"""Maximum number of groups of candidates that are named in a legend."""
VARIED = {"peak": "peak LR {:g}", "end_step": "{:,} steps", "parent": "from {}"}
"""Settings other than replay that candidates may differ in, and their labels."""


def plot_decision(decision: Decision) -> Figure:
    """Draw the objective of the candidates against replay, and below it the quantity of each limit.

    Points are means, and bars 90 % intervals. Colours show the other settings in which candidates differ. Candidates
    that violate a limit are hollow; the chosen one has a ring. A dash is the smallest bound that a candidate would
    meet: it meets the limit if the dash is not above the line of the limit. If replay does not vary, candidates are
    drawn side by side.

    Parameters
    ----------
    decision
        The result of `bayes_cpt.decide`.

    Returns
    -------
    Figure
        One panel for the objective, one per limit; nats.

    Examples
    --------
    >>> bc.plot_decision(bc.decide(draws, {"pt": 0.5, "cpt": 0.5}))  # doctest: +SKIP
    """
    table = decision.table
    by_replay = _varies(table["replay"])
    place = _places(table, by_replay)
    figure, axes = grid(
        1 + len(decision.question.limits), 1, 7.5 if by_replay else min(14.0, 5 + 0.25 * len(table)), 2.8, sharex=True
    )
    _candidates(axes[0, 0], table, place, "objective", by_replay)
    axes[0, 0].set_ylabel(f"{objective_text(decision.question.minimise)}\n(change, nats)")
    for limit, panel in zip(decision.question.limits, axes[1:, 0], strict=True):
        _candidates(panel, table, place, f"{limit.domain}_{limit.quantity}", by_replay)
        _limit(panel, table, place, limit)
    _candidate_axis(axes[-1, 0], table, by_replay)
    put_legend(figure, {label: handle for panel in axes.flat for label, handle in legend_entries(panel).items()})
    conclusion = f"Chosen: {decision.chosen}" if decision.chosen else "No candidate meets the limits"
    groups = _groups(table).nunique()
    unnamed = f"{groups} groups of candidates, too many to name: see the table" if groups > MOST_GROUPS else ""
    put_title(figure, conclusion, unnamed, decision.draws.attrs.get("warning", ""))
    return figure


def _varies(values: pd.Series) -> bool:
    return len(values.unique()) > 1


def _groups(table: pd.DataFrame) -> pd.Series:
    """Return, as one label per candidate, the settings other than replay that vary."""
    varied = [field for field in VARIED if _varies(table[field])]
    labels = [", ".join(VARIED[field].format(row[field]) for field in varied) for _, row in table.iterrows()]
    return pd.Series(labels, index=table.index)


def _places(table: pd.DataFrame, by_replay: bool) -> pd.Series:
    """Return positions of candidates: their replay, with small offsets per group so that bars do not overlap."""
    if not by_replay:
        return pd.Series(np.arange(len(table)), index=table.index)
    gap = np.diff(np.sort(table["replay"].unique())).min()
    group, names = pd.factorize(_groups(table))
    return table["replay"] + 0.16 * gap * (group - (len(names) - 1) / 2) / max(1, len(names) / 5)


def _candidates(axes: Axes, table: pd.DataFrame, place: pd.Series, name: str, by_replay: bool) -> None:
    groups = _groups(table)
    colours = colour_by(sorted(groups.unique()))
    for group, rows in table.groupby(groups, sort=True):
        x, colour = place[rows.index], colours[group]
        mean, low, high = (rows[f"{name}_{of}"] for of in ("mean", "q05", "q95"))
        label = str(group) if 1 < len(colours) <= MOST_GROUPS else None
        axes.vlines(x, low, high, color=colour, linewidth=1.2)
        if by_replay:
            order = x.sort_values().index
            axes.plot(x[order], mean[order], color=colour, linewidth=0.8, alpha=0.6)
        axes.scatter(x, mean, s=28, zorder=3, edgecolors=[colour], facecolors=[colour], label=label)
        infeasible = ~rows["feasible"]
        axes.scatter(x[infeasible], mean[infeasible], s=28, zorder=4, edgecolors=[colour], facecolors="white")
    _marks(axes, table, place, f"{name}_mean")


def _marks(axes: Axes, table: pd.DataFrame, place: pd.Series, name: str) -> None:
    """Draw a ring around the chosen candidate, and explain the markers in the legend."""
    axes.errorbar([], [], yerr=[], fmt="o", color=GREY, label="mean, 90 % interval")
    chosen = table["chosen"]
    if chosen.any():
        axes.scatter(place[chosen], table.loc[chosen, name], s=150, edgecolors=RED, facecolors="none", label="chosen")
    if not table["feasible"].all():
        axes.scatter([], [], s=28, edgecolors=GREY, facecolors="white", label="violates a limit")


def _limit(axes: Axes, table: pd.DataFrame, place: pd.Series, limit: Limit) -> None:
    needs = table[f"needs {limit}"]
    axes.scatter(place, needs, marker="_", s=40, color="black", zorder=5, label="bound needed")
    axes.axhline(limit.bound, color=RED, linestyle="--", linewidth=1.2, label="limit")
    quantity = "change of loss" if limit.quantity == "change" else "loss"
    axes.set_ylabel(f"{quantity} on {limit.domain}\n(nats)")
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
