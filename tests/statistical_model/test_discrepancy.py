"""The discrepancy's effects, and the Gaussian likelihood with the effects integrated out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytensor.tensor as pt
import pytest
from conftest import scheduled
from pytensor.compile.maker import function
from pytensor.gradient import grad

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import SpecError
from bayes_cpt.laws.features import Design, FittedRange, design, with_areas
from bayes_cpt.laws.law import Terms
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.planning.schedules import constant, wsd
from bayes_cpt.posterior.low_rank_op import marginal_log_likelihood
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.statistical_model.discrepancy import (
    COMPONENTS,
    SMOOTH_MODES,
    Component,
    Evaluation,
    cpt_runs,
    effect_labels,
    noise_variance,
    root_runs,
)
from bayes_cpt.statistical_model.likelihood import effects_given_losses
from bayes_cpt.statistical_model.low_rank_gaussian import draw_effects, factor, log_density, value_and_gradient

OWN = {"L0": 1.5, "A": 0.05, "alpha": 0.5, "C1": 4.0, "C2": 5.0, "B": 0.6, "E": 200.0, "beta": 0.3}
OWN |= {"replay_scale": 0.03, "replay_exponent": 0.5, "replay_slowing": 0.0, "rate_exponent": 0.0, "a1": 0.0}
RANGE = FittedRange(
    largest_forward_area=0.2,
    largest_forward_area_cpt=0.1,
    largest_learning_rate=2e-3,
    smallest_model_size=1e-5,
    largest_model_size=5e-4,
)
BRANCHES = [("pt_decay", "pt_const", 80), ("cpt_r00", "pt_decay", 20), ("cpt_r50", "pt_decay", 20)]


@pytest.fixture
def evaluation(tiny_folder: Path) -> Evaluation:
    """Return the law's terms on the tiny lineages: at every tenth step, and on both sides of every branch."""
    curves = read_curves(tiny_folder)
    branches = [point for child, parent, step in BRANCHES for point in ((child, 0), (parent, step))]
    points = pd.concat([curves.losses[["run", "step"]], pd.DataFrame(branches, columns=["run", "step"])])
    static = design(curves, points, 2e-3)
    terms = LAWS["cpt-replay"].predict("pt", with_areas(static, {"memory": np.asarray(20.0)}), OWN)
    return Evaluation(static, terms, np.zeros(len(static.run)), of_range(static))


def of_range(static: Design) -> FittedRange:
    """Return a range whose largest forward areas are those of a design."""
    area = float(static.forward_area.max())
    return replace(
        RANGE,
        largest_forward_area=area,
        largest_forward_area_cpt=float(static.features["forward_area_cpt"].max()),
        smallest_measured_forward_area=area * np.exp(-4.0),
        largest_measured_forward_area=area,
    )


def moved(evaluation: Evaluation, log_forward_area: FloatArray) -> Evaluation:
    """Return an evaluation whose points are at other forward areas."""
    static = evaluation.design
    area = evaluation.fitted_range.largest_forward_area * np.exp(log_forward_area)
    features = {**static.features, "forward_area_pt": area - static.features["forward_area_cpt"]}
    return replace(evaluation, design=replace(static, features=features))


def at(static: Design, run: str, step: int) -> int:
    return int(static.places(pd.DataFrame({"run": [run], "step": [step]}))[0])


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize(("child", "parent", "step"), BRANCHES)
def test_a_child_starts_with_the_discrepancy_of_its_parent(
    evaluation: Evaluation, component: str, child: str, parent: str, step: int
):
    columns = COMPONENTS[component].columns(evaluation)
    effects = np.random.default_rng(1).standard_normal(columns.shape[-2])
    discrepancy = effects @ columns
    start, branch = at(evaluation.design, child, 0), at(evaluation.design, parent, step)
    np.testing.assert_allclose(columns[:, start], columns[:, branch], atol=1e-12)
    assert discrepancy[start] == pytest.approx(discrepancy[branch], abs=1e-12)


@pytest.mark.parametrize(("component", "term"), [("annealing", "annealing"), ("shift", "shift")])
def test_equal_effects_on_all_runs_scale_the_whole_term(evaluation: Evaluation, component: str, term: str):
    total = COMPONENTS[component].columns(evaluation).sum(axis=0)
    assert np.ptp(total) > 0
    np.testing.assert_allclose(total, getattr(evaluation.terms, term), atol=1e-12)


@pytest.mark.parametrize("component", ["annealing", "shift"])
def test_an_effect_acts_on_its_own_run_and_what_comes_after(evaluation: Evaluation, component: str):
    static = evaluation.design
    columns = COMPONENTS[component].columns(evaluation)
    labels = [str(label) for label in effect_labels(component, static)]
    siblings = columns[labels.index("cpt_r00"), static.run == static.runs.index("cpt_r50")]
    assert not siblings.any()
    own = columns[labels.index("cpt_r00"), static.run == static.runs.index("cpt_r00")]
    assert np.abs(own).max() > 0.01
    if component == "annealing":
        inherited = columns[labels.index("pt_decay"), static.run == static.runs.index("cpt_r00")]
        start, branch = at(static, "pt_decay", 0), at(static, "pt_decay", 20)
        np.testing.assert_allclose(inherited, evaluation.terms.annealing[branch] - evaluation.terms.annealing[start])
        assert inherited.any()


def test_offsets_belong_to_runs_from_scratch_and_shifts_to_cpt(evaluation: Evaluation):
    static = evaluation.design
    assert effect_labels("offset", static) == ["pt_const"]
    assert effect_labels("shift", static) == ["cpt_r00", "cpt_r50"]
    assert effect_labels("smooth", static) == list(range(SMOOTH_MODES + 1))
    assert root_runs(static).tolist() == [0]
    assert cpt_runs(static).tolist() == [2, 3]
    assert (COMPONENTS["offset"].columns(evaluation) == 1).all()


def test_the_band_opens_only_beyond_the_data(evaluation: Evaluation):
    """The same effects grow with the distance beyond the forward areas of the data; within the data they are equal."""
    longer = moved(evaluation, np.linspace(-1, 1, len(evaluation.design.run)))
    beyond = longer.log_forward_area > 0
    slope = COMPONENTS["smooth"].columns(longer)[-1]
    assert not slope[~beyond].any()
    assert (np.diff(slope[beyond]) > 0).all()
    within = moved(evaluation, np.minimum(longer.log_forward_area, 0))
    one, other = (np.abs(COMPONENTS["annealing"].columns(these)[0]) for these in (longer, within))
    root = evaluation.design.run == 0
    assert (one[root & beyond] > other[root & beyond]).all()
    np.testing.assert_array_equal(one[root & ~beyond], other[root & ~beyond])


def test_the_misfit_after_the_warm_up_fades_and_is_0_without_pretraining():
    rising = pd.concat([scheduled("pt", wsd(peak=2e-3, steps=400, warmup=20)), scheduled("cpt", constant(1e-3, 50))])
    runs = pd.DataFrame({"run": ["pt", "cpt"], "phase": ["pt", "cpt"], "replay": [None, 0.5]}).assign(
        parent=None, parent_step=None
    )
    points = pd.DataFrame({"run": ["pt"] * 4 + ["cpt"], "step": [20, 30, 100, 300, 10]})
    static = design(curves_from_frames(runs, rising), points, 2e-3)
    nothing = np.zeros(len(static.run))
    columns = COMPONENTS["warmup"].columns(Evaluation(static, Terms(nothing, nothing, nothing), nothing, RANGE))
    just_after, soon, later, last, unknown = columns[:, static.places(points)].T
    np.testing.assert_allclose(just_after, 1.0)
    assert (soon < 0.5).all()
    assert (later < 1e-3).all()
    assert (last < later).all()
    assert not unknown.any()


def test_draws_of_the_parameters_lead(evaluation: Evaluation):
    scale = np.array([1.0, 2.0])
    many = replace(evaluation, terms=Terms(*(scale[:, None] * term for term in evaluation.terms)))
    for name in ("annealing", "shift"):
        one = COMPONENTS[name].columns(evaluation)
        np.testing.assert_allclose(COMPONENTS[name].columns(many), scale[:, None, None] * one, atol=1e-12)


def test_noise_has_a_floor_and_grows_with_the_learning_rate_and_the_shift():
    rate, shift = np.array([0.0, 0.5, 1.0, 1.0]), np.array([1.0, 0.0, 0.0, -2.0])
    variance = noise_variance(rate, shift, *(np.array(value) for value in (0.1, 0.2, 0.3)))
    np.testing.assert_allclose(variance, [0.01, 0.01 + 0.01, 0.01 + 0.04, 0.01 + 0.04 + 0.36])


def test_effects_given_losses_are_those_of_the_dense_gaussian():
    """The conditional of a joint Normal, by its textbook form, against the mean and covariance of many draws."""
    random = np.random.default_rng(3)
    draws, points = 40_000, np.array([4, 0, 2, 3])
    columns = {"annealing": random.normal(size=(2, 5)), "shift": random.normal(size=(1, 5))}
    columns = {name: values[:, points] for name, values in columns.items()}
    scales = {"annealing": np.full(draws, 0.7), "shift": np.full(draws, 1.3)}
    variance, residual = random.uniform(0.2, 0.6, 4), random.normal(size=4)
    found = effects_given_losses(
        columns, scales, np.tile(variance, (draws, 1)), np.tile(residual, (draws, 1)), np.random.default_rng(4)
    )

    stacked = np.concatenate(list(columns.values()))
    prior = np.diag([0.7**2, 0.7**2, 1.3**2])
    gain = prior @ stacked @ np.linalg.inv(stacked.T @ prior @ stacked + np.diag(variance))
    effects = np.concatenate([found["annealing"], found["shift"]], axis=1)
    assert found["annealing"].shape == (draws, 2)
    np.testing.assert_allclose(effects.mean(axis=0), gain @ residual, atol=0.02)
    np.testing.assert_allclose(np.cov(effects.T), prior - gain @ stacked.T @ prior, atol=0.02)


def test_a_model_without_discrepancy_has_no_effects():
    assert effects_given_losses({}, {}, np.ones((2, 1)), np.zeros((2, 1)), np.random.default_rng(1)) == {}


@pytest.mark.parametrize("component", COMPONENTS)
def test_effects_together_are_the_sum_of_single_effects(evaluation: Evaluation, component: str):
    columns = COMPONENTS[component].columns(evaluation)
    effects = np.random.default_rng(1).standard_normal((3, columns.shape[-2]))
    np.testing.assert_allclose(COMPONENTS[component].together(evaluation, effects), effects @ columns, atol=1e-12)


# losses, mean, variance, columns, measured
SYMBOLS = [pt.dvector(), pt.dvector(), pt.dvector(), pt.dmatrix(), pt.dvector()]


@pytest.fixture(scope="module")
def values() -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [
        random.normal(size=7),
        random.normal(size=7),
        random.uniform(0.5, 2.0, 7),
        random.normal(size=(3, 7)),
        np.array([1.0, 1, 0, 1, 1, 0, 1]),
    ]


@pytest.fixture(scope="module", params=["FAST_COMPILE", "JAX"])
def density(request: pytest.FixtureRequest):
    """Return the density and its gradients by losses, mean, variance and columns."""
    value = marginal_log_likelihood(*SYMBOLS)
    return function(SYMBOLS, [value, *(grad(value, symbol) for symbol in SYMBOLS[:4])], mode=request.param)


def dense_log_density(losses: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    residual = losses - mean
    log_determinant = np.linalg.slogdet(2 * np.pi * covariance).logabsdet
    return float(-0.5 * (residual @ np.linalg.solve(covariance, residual) + log_determinant))


def test_marginal_density_is_that_of_the_dense_covariance(density, values: list[np.ndarray]):
    losses, mean, variance, columns, measured = values
    kept = measured == 1
    covariance = np.diag(variance) + columns.T @ columns
    expected = dense_log_density(losses[kept], mean[kept], covariance[np.ix_(kept, kept)])
    assert float(density(*values)[0]) == pytest.approx(expected, rel=1e-10)


def test_marginal_density_without_effects_is_that_of_independent_losses(density, values: list[np.ndarray]):
    losses, mean, variance, _, measured = values
    kept = measured == 1
    expected = dense_log_density(losses[kept], mean[kept], np.diag(variance[kept]))
    assert float(density(losses, mean, variance, np.zeros((0, 7)), measured)[0]) == pytest.approx(expected, rel=1e-10)


def test_gradient_of_the_marginal_density(density, values: list[np.ndarray]):
    _, *gradients = density(*values)
    for which, gradient in enumerate(gradients):
        numeric = np.empty_like(values[which])
        for index in np.ndindex(numeric.shape):
            ends = []
            for move in (1e-5, -1e-5):
                moved = [value.copy() for value in values]
                moved[which][index] += move
                ends.append(float(density(*moved)[0]))
            numeric[index] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(gradient, numeric, atol=1e-7)


def test_unmeasured_points_do_not_count(density, values: list[np.ndarray]):
    losses, mean, variance, columns, measured = values
    absent = measured == 0
    other = np.where(absent, 1e3, losses), np.where(absent, -50.0, mean), np.where(absent, 9.0, variance)
    moved = density(*other, np.where(absent, 7.0, columns), measured)
    for before, after in zip(density(*values), moved, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-10)
    assert all((np.asarray(gradient)[..., absent] == 0).all() for gradient in moved[1:])


@pytest.mark.parametrize("counts", [{}, {"runs": root_runs, "common": 2}])
def test_effects_belong_to_runs_or_are_common(counts: dict):
    with pytest.raises(SpecError, match="either effects of single runs"):
        Component(lambda evaluation: evaluation.terms.shift[..., None, :], **counts)


def at_peaks(evaluation: Evaluation, pt: tuple[float, ...], cpt: tuple[float, ...]) -> FloatArray:
    """Return the columns of the effect of unlike peaks, (2, points), if these were fitted."""
    fitted = replace(evaluation.fitted_range, peaks_pt=pt, peaks_cpt=cpt)
    return COMPONENTS["peak"].columns(replace(evaluation, fitted_range=fitted))


def test_a_peak_unlike_all_fitted_ones_has_an_effect_that_grows_with_the_distance(evaluation: Evaluation):
    """The tiny runs peak at 2e-3 in pre-training, at 1e-3 in CPT: 1 and a half of the largest LR."""
    in_pt, in_cpt = (evaluation.design.is_cpt[evaluation.design.run] == of_cpt for of_cpt in (False, True))
    np.testing.assert_array_equal(at_peaks(evaluation, (1.0,), (0.505, 0.1)), 0)
    assert at_peaks(evaluation, (0.3, 2.5), (0.5,))[0] == pytest.approx(-np.log(2.5))
    assert at_peaks(evaluation, (0.5, 4.0), (0.5,))[0] == pytest.approx(np.log(2))
    near, far = (at_peaks(evaluation, (1.0,), (fitted,)) for fitted in (0.4, 0.1))
    later = in_cpt & (evaluation.design.step > 0)
    assert not far[:, in_pt].any()
    assert not far[:, in_cpt & (evaluation.design.step == 0)].any()
    assert (far[1, later] > 2 * near[1, later]).all()
    assert far[1, later].max() <= np.log(5)


def test_without_a_fitted_peak_there_is_no_effect_of_peaks(evaluation: Evaluation):
    assert not at_peaks(evaluation, (), ()).any()


def transfer_columns(evaluation: Evaluation, *ratios: float) -> FloatArray:
    """Return the columns of the effect of CPT runs, (2, points), if some replay ratios were fitted."""
    fitted = replace(evaluation.fitted_range, replays_cpt=ratios)
    return COMPONENTS["transfer"].columns(replace(evaluation, fitted_range=fitted))


def test_a_run_departs_after_its_transfer_point_whatever_its_shift(evaluation: Evaluation):
    """The tiny runs have replay ratios 0 and 0.5."""
    columns, design = transfer_columns(evaluation, 0.0, 0.5), evaluation.design
    assert columns.shape[0] == 2
    for column, run in zip(columns, cpt_runs(design), strict=True):
        own = design.run == run
        assert not column[~own].any()
        assert column[own & (design.step == 0)] == 0
        assert (np.diff(column[own]) > 0).all()
        assert 0.5 < column[own].max() < 1


def test_a_run_departs_further_the_less_its_replay_ratio_is_like_a_fitted_one(evaluation: Evaluation):
    """At shares of 0.1 more than none, 0.5 lies log(6) + log(11 / 6) from 0."""
    near, none = transfer_columns(evaluation, 0.0, 0.5), transfer_columns(evaluation)
    np.testing.assert_array_equal(none, near)
    alone = transfer_columns(evaluation, 0.0)
    np.testing.assert_array_equal(alone[0], near[0])
    np.testing.assert_allclose(alone[1], near[1] * (1 + np.log(11)), rtol=1e-12)
    nearer = transfer_columns(evaluation, 0.0, 0.3, 1.0)
    assert (nearer[1] <= alone[1]).all()


def test_effects_that_look_alike_are_drawn_all_the_same():
    """Two equal columns, far larger than the noise: rounding must not leave a negative square."""
    points = 40
    column = np.linspace(1e3, 2e5, points)
    effects = draw_effects(
        np.ones((1, points)), np.full((1, points), 1e-9), np.stack([column] * 6)[None], np.random.default_rng(1)
    )
    assert np.isfinite(effects).all()
    assert (effects @ column[None].repeat(6, axis=0))[0] == pytest.approx(effects.sum() * column)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e8, 1e12])
def test_the_density_is_never_above_the_highest_possible_however_large_the_effects(scale: float):
    """Rounding once made it so high, where effects are large and look alike, that chains settled there."""
    random = np.random.default_rng(1)
    columns = scale * (1 + 1e-6 * random.standard_normal((8, 40)))
    residual = scale * (3 + 1e-3 * random.standard_normal(40))
    weight = np.full(40, 1e4)
    highest = -np.log(np.diagonal(factor(weight, columns).lower)).sum()
    assert value_and_gradient(residual, weight, columns)[0] <= highest
    assert log_density(residual[None], 1 / weight[None], columns[None])[0] <= highest - 20 * np.log(2 * np.pi / 1e4)


def test_annealing_departs_further_the_less_the_replay_ratio_is_like_a_fitted_one(evaluation: Evaluation):
    """At shares of 0.1 more than none, 0.5 lies log(11) from 0; the tiny runs have replay ratios 0 and 0.5."""

    def columns(name: str, *ratios: float) -> FloatArray:
        fitted = replace(evaluation.fitted_range, replays_cpt=ratios)
        return COMPONENTS[name].columns(replace(evaluation, fitted_range=fitted))

    assert not columns("annealing_by_replay", 0.0, 0.5).any()
    without, half = columns("annealing_by_replay", 0.0)
    assert not without.any()
    of_runs = columns("annealing", 0.0)[cpt_runs(evaluation.design)]
    np.testing.assert_allclose(half, np.log(11) * of_runs[1], rtol=1e-12)
