"""Figures of forecasts, and of draws from the prior."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bayes_cpt.errors import DataError, hint
from bayes_cpt.forecasting.whole_curves import whole_curve_interval
from bayes_cpt.plots.style import (
    BLUE,
    FEW_STEPS,
    GREY,
    MOST_RUNS,
    colour_by,
    crosses,
    grid,
    learning_rate_axis,
    legend_entries,
    put_legend,
    put_title,
    wrapped,
)
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.table_checks import listed

PRIOR_DRAWS = 50
"""Number of curves per run in a figure of prior draws."""
PRIOR_RANGE = (0.02, 0.95)
"""Quantiles of the prior draws that limit the axis of losses."""


def plot_forecast(
    forecast: xr.Dataset,
    curves: Curves | None = None,
    runs: Sequence[str] | None = None,
    *,
    outliers: pd.DataFrame | None = None,
    whole_curves: bool = False,
) -> Figure:
    """Draw intervals and medians of forecast losses: one row per domain, one column per run, and the LR below.

    Parameters
    ----------
    forecast
        See `bayes_cpt.forecast`: ``loss`` (chain, draw, run, domain, step) and ``learning_rate`` (run, step), NaN
        after the end of a run.
    curves
        Measured losses, drawn as dots for runs of the same name.
    runs
        Runs to draw, at most 8; by default the first 8.
    outliers
        Points that were set aside, as a fit has them, drawn as crosses for runs of the same name.
    whole_curves
        Also draw the ends of the band in which a whole curve lies with probability 0.9
        (`bayes_cpt.whole_curve_interval`); the intervals are those of single points.

    Returns
    -------
    Figure
        Losses in nats per token, with 50 % and 90 % intervals.

    Raises
    ------
    DataError
        If a run is not in the forecast, or more than 8 are given.

    Examples
    --------
    >>> bc.plot_forecast(bc.forecast(fit, plan), fit.curves, runs=["pt_m_wsd000_r025"])  # doctest: +SKIP
    """
    shown, note = _shown(forecast, runs)
    domains = forecast["domain"].to_numpy()
    figure, axes = grid(len(domains) + 1, len(shown), 2.6, 2.2, sharex="col", sharey="row")
    for run, column in zip(shown, axes.T, strict=True):
        part = forecast.sel(run=run).dropna("step", subset=["learning_rate"])  # without steps of other runs
        for domain, panel in zip(domains, column, strict=False):
            _bands(panel, part["loss"].sel(domain=domain))
            if whole_curves:
                _whole_curve(panel, part["loss"].sel(domain=domain))
            if curves is not None:
                _dots(panel, curves.losses, run, domain)
            if outliers is not None:
                crosses(panel, outliers, run, domain)
        marker = "." if part.sizes["step"] < FEW_STEPS else None
        column[-1].plot(part["step"], part["learning_rate"], color=GREY, linewidth=1.2, marker=marker)
        column[0].set_title(_run_title(part, run), fontsize="small")
        learning_rate_axis(column[-1], "step")
    # the lower end of the shared axis is set, so it no longer scales by itself
    axes[-1, 0].set_ylim(0, 1.05 * float(forecast["learning_rate"].sel(run=shown).max()) or 1.0)
    for domain, panel in zip(domains, axes[:, 0], strict=False):
        panel.set_ylabel(f"loss on {domain} (nats)")
    for panel in axes[:, 1:].flat:
        panel.set_ylabel("")
    put_legend(figure, {label: handle for panel in axes.flat for label, handle in legend_entries(panel).items()})
    put_title(figure, note, _recalibrated(forecast), forecast.attrs.get("warning", ""))
    return figure


def _recalibrated(forecast: xr.Dataset) -> str:
    """Return by how much left-out runs changed the width of the bands; empty if they did not."""
    factors = forecast["recalibrated"].to_series() if "recalibrated" in forecast.coords else pd.Series(dtype=float)
    listed = [f"{factor:.2f} times as wide on {domain}" for domain, factor in factors.items() if factor != 1]
    return f"Recalibrated by left-out runs: {', '.join(listed)}" if listed else ""


def _run_title(part: xr.Dataset, run: str) -> str:
    name = wrapped(run, 30)
    outside = str(part["extrapolates"].item()) if "extrapolates" in part.coords else ""
    return f"{name}\nextrapolates: {outside}" if outside else name


def _shown(forecast: xr.Dataset, runs: Sequence[str] | None) -> tuple[list[str], str]:
    """Return the runs to draw, and a note on those left out."""
    known = [str(run) for run in forecast["run"].to_numpy()]
    for run in runs or ():
        if run not in known:
            raise DataError(f"The forecast has no run {run!r}{hint(run, known)}; its runs are {listed(known)}.")
    if runs is not None and not 0 < len(runs) <= MOST_RUNS:
        raise DataError(f"A figure shows 1 to {MOST_RUNS} runs, not {len(runs)}; give fewer runs.")
    note = f"First {MOST_RUNS} of {len(known)} runs" if runs is None and len(known) > MOST_RUNS else ""
    return list(known[:MOST_RUNS] if runs is None else runs), note


def _bands(axes: Axes, loss: xr.DataArray) -> None:
    """Draw intervals and median of draws (chain, draw, step); steps without a forecast are left out."""
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


def _whole_curve(axes: Axes, loss: xr.DataArray) -> None:
    """Draw the ends of the 90 % band of whole curves of draws (chain, draw, step)."""
    band = whole_curve_interval(loss)
    if band.sizes["step"]:
        for end, label in (("lower", "90 % of whole curves"), ("upper", None)):
            axes.plot(band["step"], band[end], color=BLUE, linewidth=0.8, linestyle="--", label=label)


def _dots(axes: Axes, losses: pd.DataFrame, run: str, domain: str) -> None:
    measured = losses[(losses["run"] == run) & (losses["domain"] == domain)]
    if len(measured):
        axes.plot(measured["step"], measured["loss"], "k.", markersize=3, label="measured")


def plot_prior_predictive(forecast: xr.Dataset) -> Figure:
    """Draw about 50 draws of each run's loss as thin lines: one panel per domain, one colour per run.

    Parameters
    ----------
    forecast
        ``loss`` (chain, draw, run, domain, step), as returned by `bayes_cpt.prior_predictive`.

    Returns
    -------
    Figure
        Losses in nats per token.

    Examples
    --------
    >>> bc.plot_prior_predictive(bc.prior_predictive(curves, "cpt-replay"))  # doctest: +SKIP
    """
    loss = forecast["loss"].stack(sample=("chain", "draw"))  # noqa: PD013 - xarray
    thinned = loss.isel(sample=np.unique(np.linspace(0, loss.sizes["sample"] - 1, PRIOR_DRAWS, dtype=int)))
    colours = colour_by([str(run) for run in forecast["run"].to_numpy()])
    figure, axes = grid(1, forecast.sizes["domain"], 4.2, 3.4)
    for domain, panel in zip(forecast["domain"].to_numpy(), axes[0], strict=True):
        for run, colour in colours.items():
            draws = thinned.sel(run=run, domain=domain).transpose("sample", "step").to_numpy()
            lines = [np.column_stack([forecast["step"], draw]) for draw in draws]
            panel.add_collection(LineCollection(lines, color=colour, linewidth=0.5, alpha=0.5, label=run))
        panel.autoscale_view()
        # the first steps of prior draws have losses far above those of interest
        panel.set_ylim(np.nanquantile(thinned.sel(domain=domain), PRIOR_RANGE))
        panel.set(title=domain, xlabel="step", ylabel=f"loss on {domain} (nats)")
    if len(colours) <= MOST_RUNS:
        put_legend(figure, legend_entries(axes[0, 0]))
    put_title(figure, f"{thinned.sizes['sample']} draws per run", forecast.attrs.get("warning", ""))
    return figure
