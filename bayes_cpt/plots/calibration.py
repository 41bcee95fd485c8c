"""Figure of a calibration by simulation."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayes_cpt.calibration.calibrate import Calibration
from bayes_cpt.plots.style import BLUE, GREY, RED, grid, legend_entries, put_legend, put_title

ACROSS = 4
"""Models side by side."""


def plot_calibration(*results: Calibration) -> Figure:
    """Draw how far each parameter's ranks are from uniform: a panel a model, a line a parameter of a domain.

    Lines are cumulative distributions of the ranks less the uniform one. They stay in the band, all lines of a model
    together, with probability 99 % if all ranks are uniform; those that leave it are red and named.
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
    put_title(figure, "Cumulative distribution of ranks less the uniform one")
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
