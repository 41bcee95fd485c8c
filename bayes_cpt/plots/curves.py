"""Figures of measured curves."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayes_cpt.errors import DataError
from bayes_cpt.plots.style import (
    GREY,
    colour_by,
    crosses,
    grid,
    learning_rate_axis,
    legend_entries,
    put_legend,
)
from bayes_cpt.runs.curves import Curves

PHASES = {"pt": "Pre-training", "cpt": "Continual pre-training"}


def plot_curves(curves: Curves, outliers: pd.DataFrame | None = None) -> Figure:
    r"""Draw measured losses, one row per domain, and the learning rate (LR) below; PT and CPT have separate columns.

    CPT runs are coloured by their replay ratio, and their steps count from the transfer point. PT runs are grey; a
    branch starts at the step at which it leaves its parent.

    Parameters
    ----------
    curves
        The runs.
    outliers
        Points that are set aside (run, step, domain, loss), drawn as crosses.

    Returns
    -------
    Figure
        Losses in nats per token.

    Raises
    ------
    DataError
        If there is no run.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.select(bc.read_curves(bc.shipped("data/microcpt")), "run == 'cpt_m_wsd000_wsd_r025'", ["pt"])
    >>> figure = bc.plot_curves(curves)
    >>> [axes.get_ylabel() for axes in figure.axes[::2]]
    ['loss on pt\n(nats)', 'learning rate']
    """
    phases = [phase for phase in PHASES if (curves.runs["phase"] == phase).any()]
    if not phases:
        raise DataError("There is no run to draw; give curves with at least one run.")
    domains = curves.names.ordered(curves.losses["domain"].unique())
    figure, axes = grid(len(domains) + 1, len(phases), 5.0, 2.0, sharex="col")
    entries: dict[str, Any] = {}
    for phase, column in zip(phases, axes.T, strict=True):
        _curves_of_phase(curves, phase, domains, column, outliers)
        entries |= legend_entries(column[-1])
    put_legend(figure, entries)
    return figure


def _curves_of_phase(
    curves: Curves, phase: str, domains: Sequence[str], column: Sequence[Axes], outliers: pd.DataFrame | None
) -> None:
    runs = curves.runs[curves.runs["phase"] == phase]
    colours = colour_by(sorted(runs["replay"].dropna().unique()))
    for run, replay in runs["replay"].sort_values().items():
        start = (
            sum(curves.runs["parent_step"][[*curves.lineage(str(run)).ancestors, run]].dropna()) if phase == "pt" else 0
        )
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
            if outliers is not None:
                crosses(axes, outliers, str(run), domain, start)
        column[-1].plot(start + lr["step"], lr["lr"], **style)
    column[0].set_title(PHASES[phase])
    for domain, axes in zip(domains, column, strict=False):
        axes.set_ylabel(f"loss on {domain}\n(nats)")
    learning_rate_axis(column[-1], f"{phase.upper()} step")
