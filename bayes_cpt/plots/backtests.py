"""Figure of a backtest."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bayes_cpt.evaluation.backtest import Backtest
from bayes_cpt.plots.style import BLUE, GREY, MOST_RUNS, legend_entries, put_legend, put_title, wrapped

LEVELS_SHOWN = np.linspace(0.05, 0.95, 19)
"""Levels of the intervals whose coverage is drawn."""


def plot_backtest(result: Backtest) -> Figure:
    """Draw coverage against the nominal level, the PIT, and the intervals of the runs that were left out.

    Calibrated forecasts have coverage on the diagonal and a flat histogram of the PIT (probability integral transform).
    Coverage below the diagonal, or a U-shaped PIT, means that intervals are too narrow (under-coverage); coverage
    above it, or a hump, that they are too wide (over-coverage).

    Parameters
    ----------
    result
        The backtest.

    Returns
    -------
    Figure
        Coverage and PIT per domain; below, one panel per domain and run, for the first 8 runs.

    References
    ----------
    PIT: Gneiting, Balabdaoui & Raftery, *Probabilistic forecasts, calibration and sharpness*, JRSS B 69, 2007.

    Examples
    --------
    >>> bc.write_figure(bc.plot_backtest(bc.backtest(curves, leave="replay")), "backtest.png")  # doctest: +SKIP
    """
    domains = list(result.points["domain"].unique())
    runs = list(dict.fromkeys(result.points["run"]))[:MOST_RUNS]
    figure = plt.figure(
        figsize=(max(4.4 * len(domains), 2.4 * len(runs) + 1.2), 2.8 + 2.2 * len(domains)), layout="constrained"
    )
    above, below = np.array(figure.subfigures(2, 1, height_ratios=[2.6, 2.2 * len(domains)])).flat
    panels = np.atleast_1d(above.subplots(1, 2 * len(domains)))
    for domain, (coverage, pit) in zip(domains, panels.reshape(-1, 2), strict=True):
        rank = result.points.loc[result.points["domain"] == domain, "pit"].to_numpy()
        covered = [(np.abs(rank - 0.5) <= level / 2).mean() for level in LEVELS_SHOWN]
        coverage.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        coverage.plot(LEVELS_SHOWN, covered, "o-", color=BLUE, markersize=3)
        coverage.set(title=domain, xlabel="level of intervals", ylabel="points covered", xlim=(0, 1), ylim=(0, 1))
        pit.hist(rank, bins=10, range=(0, 1), density=True, color=BLUE, alpha=0.6)
        pit.axhline(1, color=GREY, linewidth=0.8)
        pit.set(title=domain, xlabel="PIT", ylabel="density")
    grid = np.array(below.subplots(len(domains), len(runs), squeeze=False, sharex="col"))
    for domain, row in zip(domains, grid, strict=True):
        for run, axes in zip(runs, row, strict=True):
            points = result.points[(result.points["run"] == run) & (result.points["domain"] == domain)]
            step, style = points["step"], {"color": BLUE, "linewidth": 0}
            axes.fill_between(step, points["q05"], points["q95"], alpha=0.2, label="90 % interval", **style)
            axes.fill_between(step, points["q25"], points["q75"], alpha=0.3, label="50 % interval", **style)
            axes.plot(step, points["loss"], "k.", markersize=2, label="measured")
        row[0].set_ylabel(f"loss on {domain}\n(nats)")
    for run, axes in zip(runs, grid[0], strict=True):
        axes.set_title(wrapped(run, 18), fontsize="small")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    put_legend(below, legend_entries(grid[0, 0]))
    left = result.points["run"].nunique() - len(runs)
    put_title(figure, f"left out by {result.leave}" + (f"; {left} more runs are not drawn" if left else ""))
    return figure
