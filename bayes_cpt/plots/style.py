"""What figures share: colours, panels, legends, titles, and writing a figure to a file."""

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.typing import ColorType

from bayes_cpt._support.files import replacing

MOST_RUNS = 8
"""Columns that a figure of forecasts has room for."""
FEW_STEPS = 3
"""Curves of fewer steps need markers to be seen."""

BLUE, GREY, RED = "tab:blue", "0.45", "tab:red"


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all, in the format that the name ends in, and close it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    plt.close(figure)


def grid(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Figure, np.ndarray]:
    """Panels of the given size in inches; axes always as an array (rows, columns)."""
    size = (max(columns * width, 6.0), rows * height + 0.8)
    return plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, **shared)


def put_legend(figure: Figure | SubFigure, entries: Mapping[str, Any]) -> None:
    """Put a legend beside the panels; lines in it are thick enough to tell their colour."""
    if not entries:
        return
    legend = figure.legend(
        entries.values(), entries.keys(), loc="outside right center", frameon=False, fontsize="small"
    )
    for line in legend.get_lines():
        line.set_linewidth(max(line.get_linewidth(), 2))


def legend_entries(axes: Axes) -> dict[str, Any]:
    """Return what a legend of these axes would show, by label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def colour_by(values: Sequence[Hashable]) -> dict[Hashable, ColorType]:
    """One colour a value: in steps of one scale, from dark to light."""
    scale = plt.get_cmap("viridis")
    return {value: scale(place) for value, place in zip(values, np.linspace(0, 0.85, len(values)), strict=True)}


def wrapped(run: str, width: int) -> str:
    """Return a run's name in lines, broken after underscores."""
    return textwrap.fill(run.replace("_", "_ "), width).replace("_ ", "_")


def put_title(figure: Figure, *notes: str) -> None:
    """Put the notes that are not empty on top; a forecast's warning must not get lost."""
    said = [note for note in notes if note]
    if said:
        figure.suptitle(
            "\n".join(textwrap.fill(note, int(10 * figure.get_figwidth())) for note in said), fontsize="medium"
        )


def domain_order(domains: Sequence[str]) -> list[str]:
    """``pt`` and ``cpt`` first, then the rest by name."""
    return sorted(domains, key=lambda domain: (domain != "pt", domain != "cpt", domain))


def learning_rate_axis(axes: Axes, steps: str) -> None:
    """Label axes of learning rates over steps."""
    axes.set(xlabel=steps, ylabel="learning rate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    axes.set_ylim(bottom=0)
