"""Figures of what a decision trades off: the Pareto front, and the price of other weights, limits and promises."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bayes_cpt.decisions.choose import Decision
from bayes_cpt.decisions.front import front
from bayes_cpt.decisions.objectives import objective_text
from bayes_cpt.decisions.words import warnings
from bayes_cpt.plots.style import GREY, RED, colour_by, grid, legend_entries, put_legend, put_title

MOST_NAMES = 12
"""Maximum number of chosen candidates that are named in a legend."""
PANELS_IN_A_ROW = 3
SIZES = (25.0, 140.0)
"""Areas of the markers of the shortest and of the longest run, in square points."""


def plot_front(decision: Decision, domains: tuple[str, str] | None = None) -> Figure:
    """Draw candidates by two losses: which no other candidate beats on both and in cost, with what probability.

    Parameters
    ----------
    decision
        The result of `bayes_cpt.decide`.
    domains
        See `bayes_cpt.front`.

    Returns
    -------
    Figure
        Means with 90 % intervals, nats; colour is the probability of being on the Pareto front, size is the length of
        the run. Lines join the candidates of one length that are on the front by their means. Hollow candidates violate
        a limit.

    Examples
    --------
    >>> bc.plot_front(bc.decide(draws, {"pt": 0.5, "cpt": 0.5}))  # doctest: +SKIP
    """
    table = front(decision, domains)
    first, second = (name.removesuffix("_mean") for name in table.columns if name.endswith("_mean"))
    figure, panels = grid(1, 1, 7.5, 5)
    axes = panels[0, 0]
    centre = [table[f"{name}_mean"].to_numpy() for name in (first, second)]
    for way, name in (("xerr", first), ("yerr", second)):
        below, above = table[f"{name}_mean"] - table[f"{name}_q05"], table[f"{name}_q95"] - table[f"{name}_mean"]
        axes.errorbar(*centre, **{way: [below, above]}, fmt="none", ecolor="0.85", elinewidth=0.8, zorder=1)
    for _end, best in table[table["front_of_means"]].sort_values(f"{first}_mean").groupby("end_step"):
        places = [best[f"{name}_mean"] for name in (first, second)]
        axes.plot(*places, color=GREY, linewidth=0.9, label="front of the means, by length")
    points = axes.scatter(
        *centre, c=table["probability_front"], s=_sizes(table["end_step"]), vmin=0, vmax=1, cmap="viridis_r", zorder=3
    )
    _marks(axes, table, centre)
    figure.colorbar(points, label="probability of being on the Pareto front")
    quantity = "change of loss" if decision.question.of == "change" else "loss"
    labels = [f"{quantity} on {name.removesuffix(f'_{decision.question.of}')} (nats)" for name in (first, second)]
    axes.set(xlabel=labels[0], ylabel=labels[1])
    put_legend(figure, legend_entries(axes))
    longer = "Larger points are longer runs" if table["end_step"].min() < table["end_step"].max() else ""
    put_title(figure, *warnings(decision.draws), longer)
    return figure


def _sizes(steps: pd.Series) -> np.ndarray:
    share = (steps - steps.min()) / max(steps.max() - steps.min(), 1)
    return SIZES[0] + (SIZES[1] - SIZES[0]) * share.to_numpy()


def _marks(axes: Axes, table: pd.DataFrame, centre: list[np.ndarray]) -> None:
    x, y = centre
    hollow = ~table["feasible"].to_numpy()
    if hollow.any():
        axes.scatter(x[hollow], y[hollow], s=9, color="white", zorder=4)
        axes.scatter([], [], s=40, edgecolors=GREY, facecolors="white", label="violates a limit")
    chosen = table["chosen"].to_numpy()
    if chosen.any():
        axes.scatter(x[chosen], y[chosen], s=220, edgecolors=RED, facecolors="none", zorder=5, label="chosen")


def plot_sensitivity(decision: Decision, moved: pd.DataFrame) -> Figure:
    """Draw how the choice and its objective move as a weight, a bound or its probability moves.

    Parameters
    ----------
    decision
        The result of `bayes_cpt.decide`.
    moved
        See `bayes_cpt.sensitivity`.

    Returns
    -------
    Figure
        One panel per thing that moves: mean and 90 % interval of the objective of the chosen candidate, nats; colour
        is the candidate chosen there. Crosses: no candidate meets the limits. The dashed line is what was asked.

    Examples
    --------
    >>> bc.plot_sensitivity(decision, bc.sensitivity(decision, draws))  # doctest: +SKIP
    """
    names = list(moved["varied"].unique())
    columns = min(PANELS_IN_A_ROW, max(len(names), 1))
    figure, panels = grid(-(-max(len(names), 1) // columns), columns, 4.2, 3.0)
    colours = colour_by(sorted(set(moved["chosen"]) - {""}))
    for axes, name in zip(panels.flat, names, strict=False):
        _moved(axes, moved[moved["varied"] == name], colours)
        axes.axvline(_asked(decision, name), color=RED, linestyle="--", linewidth=1, label="asked")
        axes.set_xlabel(f"{name}{' (nats)' if name.startswith('bound') else ''}", fontsize="small")
        axes.set_ylabel("objective of the choice (nats)", fontsize="small")
    for axes in list(panels.flat)[len(names) :]:
        axes.set_visible(False)
    entries = {label: handle for axes in panels.flat for label, handle in legend_entries(axes).items()}
    many = len(colours) > MOST_NAMES
    put_legend(figure, {label: handle for label, handle in entries.items() if not many or label not in colours})
    unnamed = f"{len(colours)} candidates are chosen somewhere, too many to name: see the table" if many else ""
    put_title(figure, *warnings(decision.draws), f"Minimise {objective_text(decision.question.minimise)}", unnamed)
    return figure


def _moved(axes: Axes, rows: pd.DataFrame, colours: dict) -> None:
    axes.plot(rows["value"], rows["objective_mean"], color="0.8", linewidth=0.8, zorder=1)
    for chosen, own in rows[rows["chosen"] != ""].groupby("chosen"):
        axes.vlines(own["value"], own["objective_q05"], own["objective_q95"], color=colours[chosen], linewidth=1.2)
        axes.scatter(own["value"], own["objective_mean"], s=28, color=[colours[chosen]], label=str(chosen), zorder=3)
    none = rows.loc[rows["chosen"] == "", "value"]
    if len(none):
        place = axes.get_ylim()[0]
        axes.scatter(none, np.full(len(none), place), marker="x", color=GREY, label="no candidate meets the limits")


def _asked(decision: Decision, name: str) -> float:
    """Return the value that was asked of what a panel varies."""
    what, _of, which = name.partition(" of ")
    if what == "weight":
        return float(decision.question.minimise[which])  # pyright: ignore[reportIndexIssue] - functions have no weights
    limit = next(limit for limit in decision.question.limits if str(limit) == which)
    return limit.bound if what == "bound" else limit.probability
