"""Simulation-based calibration: the shipped models pass, and planted faults are detected."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from conftest import mostly_slow

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.calibration.calibrate import LEVEL, LOG_DENSITY, Calibration, calibrate, simulated_losses
from bayes_cpt.calibration.uniformity import uniformity
from bayes_cpt.inference.fit import Prepared, prepare
from bayes_cpt.plots.calibration import plot_calibration
from bayes_cpt.posterior.density import side_by_side
from bayes_cpt.posterior.priors import Entry
from bayes_cpt.simulation.simulate import pilot_runs
from bayes_cpt.statistical_model.model_files import model_names, read_spec
from bayes_cpt.statistical_model.observations import check_runs

POINTS = 6
"""Measured points per run of the template: few, to keep the tests short."""
SIMULATIONS = 64


def rank_counts(ranks: np.ndarray, places: int) -> np.ndarray:
    return (ranks[..., None] < np.arange(1, places + 1)).sum(axis=-2)


def result_of(ranks: pd.DataFrame, draws: int = 31) -> Calibration:
    """Return a calibration with these ranks."""
    return Calibration("a model", ranks, draws)


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


# Truths and losses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", mostly_slow(model_names(), "annealing", "cpt-replay", "d-cpt"))
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
def test_losses_scatter_around_the_law_as_the_likelihood_says(prepared: Prepared):
    """Over simulations of one truth, twice the log density is a constant minus a chi-square over all points."""
    [density] = prepared.densities
    x = np.repeat(density.prior_draws(1, np.random.default_rng(4)), 400, axis=0)
    truth = density.parameters(x)
    densities = side_by_side(density, simulated_losses(prepared, truth, np.random.default_rng(1)))
    values = densities.values(x[:, None])
    assert values.var() == pytest.approx((prepared.bins["pt"].count > 0).sum() / 2, rel=0.3)
    noise = {"noise_floor", "noise_learning_rate"}
    noisier = {entry: 2 * of if entry.name in noise else of for entry, of in truth.items()}
    others = side_by_side(density, simulated_losses(prepared, noisier, np.random.default_rng(1)))
    assert others.values(x[:, None]).mean() < values.min()


@pytest.mark.slow
def test_losses_in_bins_scatter_as_single_losses_do():
    """The scatter within bins informs the noise as the losses themselves would."""
    law = read_spec("annealing").law
    prepared = prepare(pilot_runs(law, 200), "annealing", domains=["pt"])
    [density] = prepared.densities
    x = np.repeat(density.prior_draws(1, np.random.default_rng(4)), 200, axis=0)
    truth = density.parameters(x)
    found, bins = simulated_losses(prepared, truth, np.random.default_rng(1))["pt"], prepared.bins["pt"]
    averaged = bins.freedom > 0
    assert averaged.any()
    each = (found["scatter"] / np.maximum(bins.freedom, 1))[:, averaged].mean(axis=0)
    assert np.sqrt(each).min() >= 0.9 * min(of[0] for entry, of in truth.items() if entry.name == "noise_floor")


# Calibration ---------------------------------------------------------------------------------------------------------


def noisier(prepared: Prepared, parameters: Mapping[Entry, FloatArray], random: np.random.Generator):
    """Simulate with three times the noise that the model has."""
    changed = {entry: 3 * of if entry.name == "noise_floor" else of for entry, of in parameters.items()}
    return simulated_losses(prepared, changed, random)


def calibration(prepared: Prepared, **options) -> Calibration:
    result = calibrate(prepared, simulations=SIMULATIONS, draws=15, moves=12, seed=1, **options)
    print(f"\n{result.verdict}\n{result.uniformity.sort_values('p').head(5).round(4)}")
    return result


def of_its_own(model: str) -> bool:
    """Whether a model has a part of its own: cpt-power has Eq. 1's kernel, open-checkpoint the history of open ones."""
    return "-eq" not in model and (not model.startswith("open-") or model == "open-checkpoint")


MODELS = [name for name in model_names() if of_its_own(name)]
"""Shipped models that are calibrated here; benchmarks/calibration.py takes every one."""


@pytest.fixture(scope="module", params=MODELS)
def shipped_model(request: pytest.FixtureRequest) -> Prepared:
    return prepare(pilot_runs(read_spec(request.param).law, POINTS), request.param, domains=["pt"])


@pytest.mark.slow
def test_ranks_of_truths_among_their_posteriors_are_uniform(shipped_model: Prepared):
    result = calibration(shipped_model)
    assert len(result.ranks) == SIMULATIONS
    informed = {name for name, prior in shipped_model.spec.priors.items() if prior.in_likelihood}
    assert informed <= {name.partition("[")[0] for name in result.ranks}
    # among so many sound models, one would fail a test at the usual level
    assert result.uniformity["corrected"].min() >= LEVEL / len(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cpt-replay", "data-mixing"])
def test_losses_with_more_noise_than_the_model_are_detected(model: str):
    prepared = prepare(pilot_runs(read_spec(model).law, POINTS), model, domains=["pt"])
    result = calibration(prepared, simulator=noisier)
    assert not result.calibrated
    assert "noise_floor[pt]" in result.uniformity.index[result.uniformity["corrected"] < 0.01]
