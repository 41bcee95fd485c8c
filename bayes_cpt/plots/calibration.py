"""Figure of simulation-based calibrations."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayes_cpt.calibration.calibrate import Calibration
from bayes_cpt.plots.style import BLUE, GREY, RED, grid, legend_entries, put_legend, put_title

ACROSS = 4
"""Number of models per row of panels."""


def plot_calibration(*results: Calibration) -> Figure:
    """Draw the difference of each parameter's ranks from uniform: one panel per model, one line per parameter.

    Lines are cumulative distributions of the ranks minus the uniform one. If all ranks are uniform, all lines of a
    model are within the band with probability 99 %. Lines that leave it are red and labelled.

    Parameters
    ----------
    results
        One calibration per model.

    Returns
    -------
    Figure
        One panel per model.

    References
    ----------
    Säilynoja, Bürkner & Vehtari 2022, arXiv 2103.10522.

    Examples
    --------
    >>> bc.plot_calibration(bc.calibrate(prepared))  # doctest: +SKIP
    """
    columns = min(len(results), ACROSS)
    figure, axes = grid(-(-len(results) // columns), columns, 2.6, 2.1, sharex=True)
    for panel, result in zip(axes.flat, results, strict=False):
        _rank_lines(panel, result)
        panel.set_title(f"{result.model}\n{len(result.ranks):,} simulations", fontsize="small")
    for panel in axes.flat[len(results) :]:
        panel.set_axis_off()
    figure.supxlabel("rank / draws")
    put_legend(figure, legend_entries(axes[0, 0]))
    put_title(figure, "Cumulative distribution of ranks minus the uniform one")
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
