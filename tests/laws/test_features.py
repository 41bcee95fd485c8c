"""Features of runs: annealing areas for any memory, and the unknown jump of an open checkpoint."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from pytensor.compile.maker import function
from pytensor.gradient import grad

from bayes_cpt.errors import DataError
from bayes_cpt.laws.areas import areas
from bayes_cpt.laws.features import Design, design, factored, peak_learning_rate, with_areas
from bayes_cpt.laws.memory_kernels import MEMORIES, RELAXING, memory_weights
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.lineage import Phase

PEAK = 2e-3
STEPS = np.array([0, 1, 2, 7, 40, 150, 600, 1500, 3000])

RUNS = pd.DataFrame(
    [
        ("trunk", "pt", None, None, None),
        ("decayed", "pt", "trunk", 6000, None),
        ("continued", "cpt", "decayed", 2000, 0.25),
    ],
    columns=["run", "phase", "parent", "parent_step", "replay"],
)
LR = pd.DataFrame(
    [
        *(("trunk", step, rate) for step, rate in ((1, PEAK / 100), (100, PEAK), (8000, PEAK))),
        *(("decayed", step, rate) for step, rate in ((1, PEAK), (2000, PEAK / 10))),
        *(("continued", step, rate) for step, rate in ((1, PEAK / 50), (100, PEAK), (2400, PEAK), (3000, 0.0))),
    ],
    columns=["run", "step", "lr"],
)


@pytest.fixture(scope="module")
def curves() -> Curves:
    """Return a WSD lineage with warm-up, a PT decay to a tenth, and CPT that re-warms to the peak and anneals."""
    return curves_from_frames(RUNS, LR)


@pytest.fixture(scope="module")
def continued(curves: Curves) -> Design:
    return design(curves, pd.DataFrame({"run": "continued", "step": STEPS}), PEAK)


# half a cell off the grid, where interpolation is worst, and the odd number
BETWEEN = np.sqrt(MEMORIES[1:] * MEMORIES[:-1])
BETWEEN = BETWEEN[(BETWEEN >= 2) & (BETWEEN <= 20_000)]


@pytest.mark.parametrize("memory", [2.0, 999.0, 20_000.0, *BETWEEN])
def test_annealing_areas_between_memories_of_the_grid(curves: Curves, continued: Design, memory: float):
    places = continued.places(pd.DataFrame({"run": "continued", "step": STEPS}))
    exact = areas(curves.lineage("continued").segments(), STEPS, memory)
    found = with_areas(continued, {"memory": np.asarray(memory)})
    for name, area in (("annealing_area_pt", exact.annealing_pt), ("annealing_area_cpt", exact.annealing_cpt)):
        error = np.abs(found[name][places] - area[:, 0]) / (PEAK * memory)
        assert error.max() < 5e-4, name


def test_annealing_areas_on_the_grid_are_exact(curves: Curves, continued: Design):
    places = continued.places(pd.DataFrame({"run": "continued", "step": STEPS}))
    for memory in MEMORIES[[5, 20, 40]]:
        exact = areas(curves.lineage("continued").segments(), STEPS, memory).annealing_cpt[:, 0]
        found = with_areas(continued, {"memory": np.asarray(memory)})["annealing_area_cpt"][places]
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10 * PEAK * memory)


@pytest.mark.parametrize(("beyond", "inside"), [(0.01, MEMORIES[1]), (1e9, MEMORIES[-2])])
def test_weights_stop_at_the_ends_of_the_grid(beyond: float, inside: float):
    np.testing.assert_allclose(memory_weights(np.asarray(beyond)), memory_weights(np.asarray(inside)), atol=1e-9)


def test_weights_sum_to_one():
    np.testing.assert_allclose(memory_weights(np.geomspace(0.5, 1e6, 200)).sum(axis=-1), 1, atol=1e-9)


def test_pytensor_and_numpy_agree_and_the_memory_has_a_gradient(continued: Design):
    memory = pt.dscalar("memory")
    symbolic = with_areas(continued, {"memory": memory})["annealing_area_cpt"]
    evaluate = function([memory], [symbolic, grad(symbolic.sum(), memory)], mode="FAST_COMPILE")
    for value in (3.0, 271.0, 5000.0):
        area, gradient = evaluate(value) or ()
        expected = with_areas(continued, {"memory": np.asarray(value)})["annealing_area_cpt"]
        np.testing.assert_allclose(area, expected, rtol=1e-9, atol=1e-12)
        ends = [
            with_areas(continued, {"memory": np.asarray(value * (1 + e))})["annealing_area_cpt"].sum()
            for e in (1e-5, -1e-5)
        ]
        assert gradient == pytest.approx((ends[0] - ends[1]) / (2e-5 * value), rel=1e-4)


def test_draws_of_the_memory_lead(continued: Design):
    memories = np.array([10.0, 300.0, 4000.0])
    together = with_areas(continued, {"memory": memories})["annealing_area_cpt"]
    alone = [with_areas(continued, {"memory": memory})["annealing_area_cpt"] for memory in memories]
    np.testing.assert_allclose(together, alone)


@pytest.mark.parametrize("potential", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("memory", MEMORIES[[15, 25, 35]])
def test_an_open_checkpoint_of_known_loss_potential_is_a_known_one(potential: float, memory: float):
    """With the peak as the reference LR, the last LR of PT is loss potential x peak."""
    points = pd.DataFrame({"run": "continued", "step": STEPS})
    pretraining = pd.DataFrame([("decayed", 1, PEAK), ("decayed", 2000, potential * PEAK)], columns=LR.columns)
    lr = pd.concat([pretraining, LR[LR["run"] == "continued"]])
    known = design(curves_from_frames(RUNS[1:].replace({"trunk": None, 6000: None}), lr), points, PEAK)
    alone = RUNS[2:].assign(parent=None, parent_step=None)
    unknown = design(curves_from_frames(alone, LR[LR["run"] == "continued"]), points, PEAK)
    expected = with_areas(known, {"memory": np.asarray(memory)})["annealing_area_cpt"][known.places(points)]
    found = with_areas(unknown, {"memory": np.asarray(memory)})
    area = (found["annealing_area_cpt"] + potential * found["jump_area_cpt"])[unknown.places(points)]
    np.testing.assert_allclose(area, expected, rtol=0, atol=1e-10 * PEAK * memory)


def test_the_area_of_a_known_checkpoint_includes_its_jump(continued: Design):
    assert not continued.features["jump_area_cpt"].any()


def test_areas_count_tokens_where_batches_differ():
    """A child of twice the batch has the areas of one of its parent's batch after half the steps."""
    runs = RUNS.assign(batch_tokens=[1000.0 if run != "continued" else 2000.0 for run in RUNS["run"]])
    half = LR["step"].where((LR["run"] != "continued") | (LR["step"] == 1), LR["step"] // 2)
    points = pd.DataFrame({"run": "continued", "step": STEPS})
    usual = design(curves_from_frames(RUNS, LR), points, PEAK, batch_tokens=1000.0)
    larger = design(
        curves_from_frames(runs, LR.assign(step=half)),
        points.assign(step=points["step"] // 2),
        PEAK,
        batch_tokens=1000.0,
    )
    memory = {"memory": np.asarray(300.0)}
    for name in ("forward_area_pt", "forward_area_cpt", "annealing_area_pt", "annealing_area_cpt", "length_cpt"):
        expected = with_areas(usual, memory)[name][usual.places(points)]
        found = with_areas(larger, memory)[name][larger.places(points.assign(step=points["step"] // 2))]
        np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.01 * np.abs(expected).max(), err_msg=name)


def test_a_design_has_ancestors_starts_and_each_point_once(curves: Curves):
    points = pd.DataFrame({"run": ["continued", "continued", "continued"], "step": [50, 50, 0]})
    static = design(curves, points, PEAK)
    assert static.runs == ("trunk", "decayed", "continued")
    assert static.parent.tolist() == [-1, 0, 1]
    assert static.is_cpt.tolist() == [False, False, True]
    assert sorted(zip(static.run.tolist(), static.step.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 0), (2, 50)]
    assert static.step[static.start].tolist() == [0, 0, 0]
    assert static.run[static.start].tolist() == [0, 1, 2]
    places = static.places(points)
    assert static.step[places].tolist() == [50, 50, 0]
    assert static.features["replay_ratio"][static.start].tolist() == [1, 1, 0.25]


def test_a_child_starts_with_the_features_of_its_parent(curves: Curves):
    at_branch = pd.DataFrame({"run": ["trunk", "decayed"], "step": [6000, 0]})
    static = design(curves, at_branch, PEAK)
    parent, child = static.places(at_branch)
    for name, values in static.features.items():
        np.testing.assert_allclose(values[..., child], values[..., parent], err_msg=name)


def test_features_do_not_depend_on_the_other_points(curves: Curves, continued: Design):
    one = pd.DataFrame({"run": ["continued"], "step": [600]})
    alone = design(curves, one, PEAK)
    for name, values in alone.features.items():
        expected = continued.features[name][..., continued.places(one)]
        np.testing.assert_allclose(values[..., alone.places(one)], expected, err_msg=name)


def test_warm_up_is_of_runs_from_scratch_alone(curves: Curves):
    assert np.argmax(curves.learning_rate("trunk")) == 99
    assert [curves.lineage(run).warmup for run in curves.runs.index] == [100, 0, 0]


def test_a_cpt_run_needs_its_replay_ratio(tiny_folder: Path):
    curves = read_curves(tiny_folder)
    curves.runs.loc["cpt_r50", "replay"] = np.nan
    with pytest.raises(DataError, match="'cpt_r50' is a CPT run without a replay ratio"):
        design(curves, pd.DataFrame({"run": ["cpt_r50"], "step": [10]}), 1e-3)


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ([0.2, 0.6, 1.0, 1.0, 0.5, 0.0], [1.0] * 7),  # neither the warm-up nor the decay changes the peak
        ([0.3, 0.3, 0.3], [0.3] * 4),
        ([0.1, 0.4, 0.2, 0.8, 0.1], [0.4, 0.4, 0.4, 0.4, 0.8, 0.8]),  # later steps do not change earlier values
        ([0.0, 0.0], [1e-6] * 3),
        ([], [1.0]),
    ],
)
def test_peak_learning_rate_is_that_reached_so_far_with_the_warmup_done(rates: list[float], expected: list[float]):
    continued = Phase(PEAK * np.array(rates), np.ones(len(rates)), np.zeros(len(rates)), 0)
    np.testing.assert_allclose(peak_learning_rate(continued, PEAK), expected)


def test_rows_in_factors_give_the_same_areas(curves: Curves):
    points = pd.DataFrame([(run, step) for run in RUNS["run"] for step in STEPS[:-2]], columns=["run", "step"])
    whole = design(curves, points, PEAK, RELAXING)
    parameters = {"memory": 300.0, "level_power": 0.6, "response_power": 0.9, "forward_power": 0.5}
    given = {name: np.full(4, value) for name, value in parameters.items()}
    expected, found = with_areas(whole, given), with_areas(factored(whole), given)
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9 * PEAK * 300)
