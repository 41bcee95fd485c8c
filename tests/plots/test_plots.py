"""Figures: axes have labels, every result is drawn, nothing is cut off, and runs may end at different steps."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.front import front
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.decisions.sensitivity import sensitivity
from bayes_cpt.errors import DataError
from bayes_cpt.plots.curves import plot_curves
from bayes_cpt.plots.decisions import MOST_GROUPS, plot_decision
from bayes_cpt.plots.forecasts import plot_forecast, plot_prior_predictive
from bayes_cpt.plots.trade_offs import plot_front, plot_sensitivity
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select

mpl.use("agg")

MICROCPT = Path(__file__).parents[2] / "data" / "microcpt"
DOMAINS = ["pt", "cpt"]


@pytest.fixture
def tiny(tiny_folder: Path) -> Curves:
    return read_curves(tiny_folder)


def forecast(
    runs: Sequence[str], replay: Sequence[float], ends: Sequence[int], peak: Sequence[float] | None = None
) -> xr.Dataset:
    """Forecast of falling losses with 80 draws; NaN beyond the end of a run."""
    rng = np.random.default_rng(3)
    steps = np.unique([*range(0, max(ends) + 1, 10), *ends])
    beyond = steps > np.asarray(ends)[:, None]
    transfer = rng.normal(3, 0.05, (2, 40, len(runs), 2))
    slope = rng.normal(1, 0.1, (2, 40, len(runs), 2, 1))
    loss = transfer[..., None] - slope * steps / 100 + rng.normal(0, 0.01, (2, 40, len(runs), 2, steps.size))
    peaks = np.full(len(runs), 1e-3) if peak is None else np.asarray(peak)
    return xr.Dataset(
        {
            "loss": (("chain", "draw", "run", "domain", "step"), np.where(beyond[:, None], np.nan, loss)),
            "transfer_loss": (("chain", "draw", "run", "domain"), transfer),
            "learning_rate": (("run", "step"), np.where(beyond, np.nan, peaks[:, None])),
        },
        {
            "run": list(runs),
            "domain": DOMAINS,
            "step": steps,
            "replay": ("run", np.asarray(replay, float)),
            "peak": ("run", peaks),
            "end_step": ("run", np.asarray(ends)),
            "parent": ("run", ["pt_decay"] * len(runs)),
        },
        {"warning": ""},
    )


TWO = forecast(["cpt_r00", "cpt_new"], [0, 0.3], [50, 30])
GRID = forecast(
    [f"r{i}" for i in range(6)],
    [0, 0.25, 0.5, 0, 0.25, 0.5],
    [50, 50, 50, 80, 80, 80],
    [1e-3, 1e-3, 1e-3, 2e-3, 2e-3, 2e-3],
)
LIMITS = [at_most("pt", change=-0.5), at_most("cpt", loss=2.9)]
MOVED = decide(GRID, {"pt": 1, "cpt": 1}, LIMITS[:1])


def legend(figure: Figure) -> set[str]:
    return {text.get_text() for box in figure.legends for text in box.get_texts()}


def xs(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), float)


def title(figure: Figure) -> str:
    return figure.get_suptitle()


def panels(figure: Figure, columns: int) -> list[list[Axes]]:
    return [figure.axes[i : i + columns] for i in range(0, len(figure.axes), columns)]


def figures(curves: Curves) -> dict[str, Figure]:
    return {
        "curves": plot_curves(curves),
        "forecast": plot_forecast(TWO, curves),
        "forecast with warning": plot_forecast(TWO.assign_attrs(warning="The fit has not converged. " * 6)),
        "forecast of whole curves": plot_forecast(TWO, curves, whole_curves=True),
        "end only": plot_forecast(TWO.sel(step=[30, 50])),
        "decision": plot_decision(decide(GRID, {"pt": 1, "cpt": 1}, LIMITS)),
        "side by side": plot_decision(decide(GRID.sel(run=["r0", "r3"]), {"pt": 1}, LIMITS)),
        "front": plot_front(decide(GRID, {"pt": 1, "cpt": 1}, LIMITS)),
        "moves": plot_sensitivity(MOVED, sensitivity(MOVED, GRID)),
        "no choice": plot_decision(decide(GRID, {"pt": 1}, [at_most("pt", change=-5)])),
        "prior": plot_prior_predictive(TWO),
    }


def test_axes_have_units_nothing_is_cut_off_and_the_legend_covers_no_panel_or_title(tiny: Curves):
    for name, figure in figures(tiny).items():
        labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
        assert labels, name
        units = ("nats", "learning rate", "probability")
        assert all(any(unit in label for unit in units) for label in labels), name
        assert [axes for axes in figure.axes if axes.get_label() != "<colorbar>"][-1].get_xlabel() or name == "moves", (
            name
        )
        figure.canvas.draw()
        inside, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
        assert min(inside.x0, inside.y0) >= -0.01, name
        assert inside.x1 <= width + 0.01, name
        assert inside.y1 <= height + 0.01, name
        box = figure.legends[0].get_window_extent()
        others = [artist.get_window_extent() for artist in (*figure.axes, *figure.texts)]
        assert not any(box.overlaps(other) for other in others if other.width), name


def test_curves_have_a_panel_a_domain_and_phase_and_a_line_a_run(tiny: Curves):
    figure = plot_curves(tiny)
    rows = panels(figure, 2)
    assert [row[0].get_ylabel() for row in rows] == ["loss on pt\n(nats)", "loss on cpt\n(nats)", "learning rate"]
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert legend(figure) == {"PT", "replay 0", "replay 0.5"}
    assert [axes.get_xlabel() for axes in rows[-1]] == ["PT step", "CPT step"]


def test_points_that_are_set_aside_are_crosses(tiny: Curves):
    outliers = tiny.losses[(tiny.losses["run"] == "pt_decay") & (tiny.losses["step"] == 10)]
    drawn = [line for panel in plot_curves(tiny, outliers).axes for line in panel.lines if line.get_marker() == "x"]
    assert [line.get_xydata().tolist() for line in drawn] == [[[90, loss]] for loss in outliers["loss"]]
    drawn = plot_forecast(forecast(["pt_decay"], [0.0], [20]), tiny, outliers=outliers)
    assert [line.get_xdata().tolist() for line in drawn.axes[0].lines if line.get_marker() == "x"] == [[10]]


def test_a_branch_of_pre_training_goes_on_from_its_parent(tiny: Curves):
    (const, decay), (first, _) = (axes.lines for axes in panels(plot_curves(tiny), 2)[0])
    assert (xs(const).max(), xs(decay).min(), xs(decay).max()) == (100, 90, 100)
    assert (xs(first).min(), xs(first).max()) == (0, 50)


def test_the_same_replay_has_the_same_colour_and_another_one_another():
    curves = select(read_curves(MICROCPT), "model_size == 332448", DOMAINS)
    figure = plot_curves(curves)
    cpt = figure.axes[1].lines
    replays = [line.get_label() for line in cpt]
    colours = [line.get_color() for line in cpt]
    assert len(set(replays)) == len(set(colours)) == len(set(zip(replays, colours, strict=True))) == 4
    assert len({line.get_color() for line in figure.axes[0].lines}) == 1


def test_curves_without_pre_training_have_one_column(tiny: Curves):
    assert len(plot_curves(Curves(tiny.runs[tiny.runs["parent"].isna()], tiny.lr, tiny.losses)).axes) == 3
    with pytest.raises(DataError, match="no run"):
        plot_curves(Curves(tiny.runs.iloc[:0], tiny.lr, tiny.losses))


def test_a_forecast_shows_bands_up_to_the_end_of_each_run_and_what_was_measured(tiny: Curves):
    figure = plot_forecast(TWO, tiny)
    (known, new), *_, rates = panels(figure, 2)
    assert legend(figure) == {"90 % interval", "50 % interval", "median", "measured"}
    assert [axes.get_title() for axes in (known, new)] == ["cpt_r00", "cpt_new"]
    for axes, end, lines in ((known, 50, 2), (new, 30, 1)):
        assert len(axes.lines) == lines
        assert xs(axes.lines[0]).max() == end
        assert [band.get_paths()[0].get_extents().x1 for band in axes.collections] == [end, end]
    assert all(len(axes.lines) == 1 for axes in rates)


def test_a_forecast_s_bands_are_its_quantiles():
    band = plot_forecast(TWO, runs=["cpt_r00"]).axes[0].collections[0].get_paths()[0].vertices
    final = TWO["loss"].sel(run="cpt_r00", domain="pt", step=50).quantile([0.05, 0.95]).to_numpy()
    at_end = np.asarray(band)[np.asarray(band)[:, 0] == 50, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx(tuple(final))


def test_runs_that_do_not_fit_in_a_figure_are_left_out_with_a_note_or_refused():
    ten = forecast([f"run{i}" for i in range(10)], [0] * 10, [20] * 10)
    figure = plot_forecast(ten)
    assert len(figure.axes) == 8 * 3
    assert title(figure) == "First 8 of 10 runs"
    assert len(plot_forecast(ten, runs=["run9", "run1"]).axes) == 2 * 3
    with pytest.raises(DataError, match="1 to 8 runs, not 10"):
        plot_forecast(ten, runs=[f"run{i}" for i in range(10)])
    with pytest.raises(DataError, match=r"no run 'rum1' \(did you mean 'run1'\?\)"):
        plot_forecast(ten, runs=["rum1"])


def test_a_warning_is_shown_in_every_figure_of_a_forecast():
    shaky = TWO.assign_attrs(warning="Not converged.")
    decision = decide(shaky, {"pt": 1, "cpt": 1})
    for figure in (
        plot_forecast(shaky),
        plot_prior_predictive(shaky),
        plot_decision(decision),
        plot_front(decision),
        plot_sensitivity(decision, sensitivity(decision, shaky)),
    ):
        assert "Not converged." in title(figure)


def test_prior_draws_are_fifty_thin_lines_a_run():
    figure = plot_prior_predictive(TWO)
    assert len(figure.axes) == 2
    assert legend(figure) == {"cpt_r00", "cpt_new"}
    for axes in figure.axes:
        assert [len(lines.get_paths()) for lines in axes.collections] == [50, 50]
        assert axes.get_xlim()[1] >= 50


def test_a_decision_shows_the_objective_and_each_limit():
    decision = decide(GRID, {"pt": 1, "cpt": 1}, LIMITS)
    objective, change, loss = plot_decision(decision).axes
    assert [axes.get_title() for axes in (change, loss)] == [str(limit) for limit in LIMITS]
    assert change.get_ylabel().startswith("change of loss on pt")
    assert loss.get_ylabel().startswith("loss on cpt")
    assert loss.get_xlabel().startswith("replay")
    for axes, bound in ((change, -0.5), (loss, 2.9)):
        assert [line.get_ydata() for line in axes.lines if line.get_label() == "limit"] == [[bound, bound]]
    drawn = np.sort([y for line in objective.lines if xs(line).size == 3 for y in np.asarray(line.get_ydata())])
    assert drawn == pytest.approx(np.sort(decision.table["objective_mean"]))


def test_a_mean_outside_its_interval_is_drawn():
    """Rare and huge draws pull a mean above the 95 % quantile."""
    skewed = TWO.copy(deep=True)
    skewed["loss"][0, 0] += 1e6
    decision = decide(skewed, {"pt": 1})
    assert (decision.table["objective_mean"] > decision.table["objective_q95"]).all()
    assert plot_decision(decision).axes[0].get_ylim()[1] > decision.table["objective_mean"].max()


def test_a_decision_has_a_colour_for_what_else_varies_and_marks_choice_and_breaches():
    decision = decide(GRID, {"pt": 1}, [at_most("pt", change=-0.6)])
    figure = plot_decision(decision)
    assert {"peak LR 0.001, 50 steps", "peak LR 0.002, 80 steps", "chosen", "violates a limit", "limit"} <= legend(
        figure
    )
    assert title(figure) == f"Chosen: {decision.chosen}"
    assert 0 < len(hollow(figure.axes[0])) == (~decision.table["feasible"]).sum() < 6


def test_the_front_joins_what_no_other_candidate_beats():
    decision = decide(GRID, {"pt": 1, "cpt": 1})
    axes = plot_front(decision).axes[0]
    table = front(decision)
    joined = {tuple(point) for line in axes.lines if xs(line).size for point in zip(*line.get_data(), strict=True)}
    best = table[table["front_of_means"]]
    assert joined == set(zip(best["pt_mean"], best["cpt_mean"], strict=True))


def test_moves_have_a_panel_each_and_mark_what_was_asked_and_where_nothing_is_allowed():
    figure = plot_sensitivity(MOVED, sensitivity(MOVED, GRID))
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == [
        "weight of pt",
        f"bound of {LIMITS[0]} (nats)",
        f"probability of {LIMITS[0]}",
    ]
    assert "asked" in legend(figure)
    none = decide(GRID, {"pt": 1}, [at_most("pt", change=-5)])
    assert "no candidate meets the limits" in legend(plot_sensitivity(none, sensitivity(none, GRID)))


def hollow(axes: Axes) -> np.ndarray:
    points = [p for p in axes.collections if p.get_zorder() == 4 and np.size(p.get_offsets())]
    return np.concatenate([p.get_offsets() for p in points])


def test_without_a_choice_the_figure_says_so():
    figure = plot_decision(decide(GRID, {"pt": 1}, [at_most("pt", change=-5)]))
    assert title(figure) == "No candidate meets the limits"
    assert "chosen" not in legend(figure)
    assert len(hollow(figure.axes[0])) == 6


def test_candidates_stand_side_by_side_where_replay_does_not_vary():
    axes = plot_decision(decide(GRID.sel(run=["r0", "r3"]), {"pt": 1})).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["r0", "r3"]


def test_many_kinds_of_candidates_are_counted_rather_than_named():
    count = MOST_GROUPS + 1
    many = forecast(
        [f"r{i}" for i in range(count)], [0.2] * count, [20] * count, [1e-4 * (i + 1) for i in range(count)]
    )
    figure = plot_decision(decide(many, {"pt": 1}))
    assert f"{count} groups of candidates, too many to name" in title(figure)
    assert not any("peak" in label for label in legend(figure))
