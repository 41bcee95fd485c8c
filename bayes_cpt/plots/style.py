"""Common parts of figures: colours, panels, legends, titles; and writing a figure to a file."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.text import Text
from matplotlib.typing import ColorType

from bayes_cpt._support.files import replacing

MOST_RUNS = 8
"""Maximum number of runs in a figure, one per column."""
FEW_STEPS = 3
"""Number of steps below which curves are drawn with markers."""

BLUE, GREY, RED = "tab:blue", "0.45", "tab:red"


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file, and close it. The file is written completely or not at all.

    Parameters
    ----------
    figure
        The figure.
    path
        File to write; its ending gives the format, such as ``.png`` or ``.pdf``.

    Raises
    ------
    DataError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> bc.write_figure(bc.plot_curves(curves), "curves.png")  # doctest: +SKIP
    """
    plain_text(figure)
    with replacing(path) as temporary, plt.rc_context({"text.parse_math": False}):
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def plain_text(figure: Figure) -> None:
    """Show all text as it is: a name with dollar signs would be read as a formula, which may be a wrong one."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue] - findobj returns texts


def grid(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure of panels of a size in inches, and the axes as an array (rows, columns)."""
    size = (max(columns * width, 6.0), rows * height + 0.8)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)


def put_legend(figure: Figure | SubFigure, entries: Mapping[str, Any]) -> None:
    """Put a legend beside the panels, with lines thick enough to show their colour."""
    if not entries:
        return
    legend = figure.legend(
        entries.values(), entries.keys(), loc="outside right center", frameon=False, fontsize="small"
    )
    for line in legend.get_lines():
        line.set_linewidth(max(line.get_linewidth(), 2))


def legend_entries(axes: Axes) -> dict[str, Any]:
    """Return the legend handles of axes, by label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def colour_by(values: Sequence[Hashable]) -> dict[Hashable, ColorType]:
    """Return one colour per value: steps of one scale, from dark to light."""
    scale = plt.get_cmap("viridis")
    return {value: scale(place) for value, place in zip(values, np.linspace(0, 0.85, len(values)), strict=True)}


def wrapped(run: str, width: int) -> str:
    """Return a run's name, broken into lines after underscores."""
    return textwrap.fill(run.replace("_", "_ "), width).replace("_ ", "_")


def put_title(figure: Figure, *notes: str) -> None:
    """Put all notes that are not empty, such as the warning of a forecast, on top of a figure."""
    plain_text(figure)
    lines = [textwrap.fill(note, int(10 * figure.get_figwidth())) for note in notes if note]
    if lines:
        figure.suptitle("\n".join(lines), fontsize="medium")


def crosses(axes: Axes, points: pd.DataFrame, run: str, domain: str, start: int = 0) -> None:
    """Mark the points of a run that are set aside; ``start`` is the place of its step 0."""
    own = points[(points["run"] == run) & (points["domain"] == domain)]
    if len(own):
        axes.plot(start + own["step"], own["loss"], "rx", markersize=6, label="set aside")


def learning_rate_axis(axes: Axes, steps: str) -> None:
    """Label axes that show the learning rate over steps."""
    axes.set(xlabel=steps, ylabel="learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    axes.set_ylim(bottom=0)
