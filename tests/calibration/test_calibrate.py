"""Simulation-based calibration: the shipped models pass, and planted faults are detected."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from bayes_cpt.calibration.batched_hmc import chains_through
from bayes_cpt.inference.density import density_of, side_by_side

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.calibration.calibrate import LEVEL, LOG_DENSITY, Calibration, calibrate, prior_draws, simulated_losses
from bayes_cpt.calibration.uniformity import uniformity
from bayes_cpt.inference.fit import Prepared, prepare
from bayes_cpt.inference.mode import climb
from bayes_cpt.plots.calibration import plot_calibration
from bayes_cpt.simulation.simulate import pilot_runs
from bayes_cpt.statistical_model.model_files import model_names, read_spec
from bayes_cpt.statistical_model.observations import check_runs

POINTS = 6
"""Measured points per run of the template: few, to keep the tests short."""
SIMULATIONS = 200


def rank_counts(ranks: np.ndarray, places: int) -> np.ndarray:
    return (ranks[..., None] < np.arange(1, places + 1)).sum(axis=-2)


def result_of(ranks: pd.DataFrame, draws: int = 31) -> Calibration:
    """Return a calibration with these ranks, whose chains all moved."""
    return Calibration("a model", ranks, pd.Series(0.8, index=ranks.index), draws)


# Uniformity ---------------------------------------------------------------------------------------------------------


def test_p_values_of_uniform_ranks_are_uniform():
    ranks = np.random.default_rng(3).integers(0, 32, size=(2000, 200))
    counts = np.array([rank_counts(sample, 31) for sample in ranks])
    p = uniformity(counts, 200)
    for level in (0.01, 0.1, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 2000))


@pytest.mark.parametrize("fault", ["shifted", "too narrow", "too wide", "at an end"])
def test_ranks_of_a_faulty_posterior_are_distinguished_from_uniform_ones(fault: str):
    random = np.random.default_rng(5)
    shares = {
        "shifted": random.beta(1.5, 1, 200),
        "too narrow": random.beta(0.6, 0.6, 200),
        "too wide": random.beta(2, 2, 200),
        "at an end": np.where(random.uniform(size=200) < 0.06, 0.999, random.uniform(size=200)),
    }[fault]
    ranks = np.floor(32 * shares)
    assert uniformity(rank_counts(ranks, 31)[None], 200)[0] < 0.01


def test_p_values_are_corrected_for_their_number():
    random = np.random.default_rng(2)
    ranks = pd.DataFrame(random.integers(0, 32, size=(200, 40)), columns=[f"p{i}[pt]" for i in range(40)])
    sound = result_of(ranks)
    p, corrected = sound.uniformity["p"], sound.uniformity["corrected"]
    assert sound.calibrated
    assert corrected.min() == pytest.approx(min(1, 40 * p.min()))
    assert (corrected >= p).all()
    assert (corrected.iloc[np.argsort(p)].diff().dropna() >= 0).all()


def test_only_the_line_of_a_faulty_parameter_leaves_the_band():
    random = np.random.default_rng(2)
    ranks = pd.DataFrame(random.integers(0, 32, size=(200, 3)), columns=["good[pt]", "bad[cpt]", LOG_DENSITY])
    ranks["bad[cpt]"] //= 2
    result = result_of(ranks)
    outside = result.differences.lt(result.band["lower"], axis=0) | result.differences.gt(result.band["upper"], axis=0)
    assert outside.any().to_dict() == {"good[pt]": False, "bad[cpt]": True, LOG_DENSITY: False}
    assert "MISCALIBRATED" in result.verdict
    assert "bad[cpt]" in result.verdict
    named = [text.get_text() for axes in plot_calibration(result).axes for text in axes.texts]
    assert named == ["bad[cpt]"]


def test_chains_that_hardly_moved_are_reported():
    ranks = pd.DataFrame({"a[pt]": [1, 3, 5], LOG_DENSITY: [2, 0, 3]})
    result = Calibration("a model", ranks, pd.Series([0.8, 0.0, 0.01]), 31)
    assert "2 of 3 chains hardly moved" in result.verdict


# Truths and losses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", model_names())
def test_the_template_has_the_runs_that_the_law_describes(model: str):
    law = read_spec(model).law
    curves = pilot_runs(law, POINTS)
    check_runs(curves, law)
    assert curves.losses.groupby(["run", "domain"]).size().eq(POINTS).all()
    assert set(curves.losses["domain"]) == set(law.domains)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(pilot_runs(read_spec("annealing").law, POINTS), "annealing", domains=["pt"])


@pytest.mark.slow
def test_truths_have_the_order_of_the_density(prepared: Prepared):
    """Log-normal parameters are logs in the vector, normal ones are themselves; each under its own name."""
    truths = prior_draws(prepared, 5, seed=1)
    assert len(truths.labels) == truths.unconstrained.shape[1] == prepared.density.start.size
    for index, label in enumerate(truths.labels):
        name = label.removesuffix("[pt]")
        values = truths.parameters[name][:, 0]
        expected = values if prepared.spec.priors[name].family == "Normal" else np.log(values)
        np.testing.assert_allclose(truths.unconstrained[:, index], expected)


@pytest.mark.slow
def test_losses_scatter_around_the_law_as_the_likelihood_says(prepared: Prepared):
    """Over simulations of one truth, twice the log density is a constant minus a chi-square over all points."""
    one = prior_draws(prepared, 1, seed=4)
    many = {name: np.repeat(values, 400, axis=0) for name, values in one.parameters.items()}
    losses = simulated_losses(prepared, many, np.random.default_rng(1))["pt"]
    density = density_of(prepared.pymc_model)
    values = np.array(
        [
            density._replace(data={**density.data, "observed_pt": row}).evaluate(one.unconstrained[0])[0]
            for row in losses
        ]
    )
    measured = density.data["measured_pt"].sum()
    assert values.var() == pytest.approx(measured / 2, rel=0.3)
    noisier = {**many, "noise_floor": 2 * many["noise_floor"], "noise_learning_rate": 2 * many["noise_learning_rate"]}
    other = simulated_losses(prepared, noisier, np.random.default_rng(1))["pt"]
    found = density._replace(data={**density.data, "observed_pt": other[0]}).evaluate(one.unconstrained[0])[0]
    assert found < values.min()


# Chains -------------------------------------------------------------------------------------------------------------


def test_chains_through_a_draw_have_the_posterior():
    """Started at draws of known normal distributions, all states have their means and standard deviations."""
    centre, deviation = np.array([1.0, -2.0, 30.0]), np.array([0.1, 1.0, 5.0])
    members = 400

    def densities(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        standard = (x - centre) / deviation
        return -0.5 * (standard**2).sum(axis=1), -standard / deviation

    random = np.random.default_rng(1)
    _values, whitening = climb(densities, np.zeros((members, 3)))
    np.testing.assert_allclose(whitening.centre, np.tile(centre, (members, 1)), atol=1e-5)
    given = centre + deviation * random.standard_normal((members, 3))
    chains = chains_through(densities, whitening, given, draws=15, every=3, random=random, done=lambda *_: None)
    np.testing.assert_allclose(chains.states[:, 0], given)
    standard = (chains.states - centre) / deviation
    np.testing.assert_allclose(standard.mean(axis=(0, 1)), 0, atol=0.06)
    np.testing.assert_allclose(standard.std(axis=(0, 1)), 1, atol=0.05)
    assert abs(np.corrcoef(standard[:, 0].ravel(), standard[:, -1].ravel())[0, 1]) < 0.2


@pytest.mark.slow
def test_densities_side_by_side_are_those_of_each_alone(prepared: Prepared):
    truths = prior_draws(prepared, 3, seed=2)
    losses = simulated_losses(prepared, truths.parameters, np.random.default_rng(1))["pt"]
    together, gradients = side_by_side(prepared.density, {"observed_pt": losses})(truths.unconstrained)
    for index, row in enumerate(losses):
        alone = prepared.density._replace(data={**prepared.density.data, "observed_pt": row})
        value, gradient = alone.evaluate(truths.unconstrained[index])
        assert together[index] == pytest.approx(value)
        np.testing.assert_allclose(gradients[index], gradient, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


# Calibration ---------------------------------------------------------------------------------------------------------


def noisier(prepared: Prepared, parameters: Mapping[str, FloatArray], random: np.random.Generator):
    """Simulate with three times the noise that the model has."""
    return simulated_losses(prepared, {**parameters, "noise_floor": 3 * parameters["noise_floor"]}, random)


def calibration(prepared: Prepared, **options) -> Calibration:
    result = calibrate(prepared, simulations=SIMULATIONS, draws=19, every=3, seed=1, **options)
    print(f"\n{result.verdict}\n{result.uniformity.sort_values('p').head(5).round(4)}")
    return result


@pytest.fixture(scope="module", params=model_names())
def shipped_model(request: pytest.FixtureRequest) -> Prepared:
    return prepare(pilot_runs(read_spec(request.param).law, POINTS), request.param, domains=["pt"])


@pytest.mark.slow
def test_density_and_gradient_are_finite_and_agree_at_the_start(shipped_model: Prepared):
    density = shipped_model.density
    start = density.start
    direction = np.random.default_rng(1).standard_normal(start.size)
    points = start + np.resize([0, 1e-6, -1e-6], SIMULATIONS)[:, None] * direction
    # as many as are ranked below, so that nothing is compiled twice
    observed = {"observed_pt": np.tile(density.data["observed_pt"], (SIMULATIONS, 1))}
    (value, *ends), (gradient, *_) = (found[:3] for found in side_by_side(density, observed)(points))
    assert np.isfinite(value)  # also if only its gradient is not finite
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(gradient @ direction, rel=1e-4)


@pytest.mark.slow
def test_ranks_of_truths_among_their_posteriors_are_uniform(shipped_model: Prepared):
    result = calibration(shipped_model)
    assert len(result.ranks) == SIMULATIONS
    assert set(shipped_model.spec.priors) <= {name.partition("[")[0] for name in result.ranks}
    assert result.stuck <= 0.25 * SIMULATIONS
    # among so many sound models, one would fail a test at the usual level
    assert result.uniformity["corrected"].min() >= LEVEL / len(model_names())


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cpt-replay", "data-mixing"])
def test_losses_with_more_noise_than_the_model_are_detected(model: str):
    prepared = prepare(pilot_runs(read_spec(model).law, POINTS), model, domains=["pt"])
    result = calibration(prepared, simulator=noisier)
    assert not result.calibrated
    assert "noise_floor[pt]" in result.uniformity.index[result.uniformity["corrected"] < 0.01]
