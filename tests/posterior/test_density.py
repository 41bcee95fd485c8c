"""The log densities that are sampled agree with the model in PyMC, and with themselves in every form."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt.posterior.density import Density, replaced, side_by_side
from bayes_cpt.posterior.priors import entries as all_entries
from bayes_cpt.posterior.priors import grouped, in_likelihood, log_prior
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.simulation.simulate import pilot_runs
from bayes_cpt.statistical_model.model_files import model_names, read_spec

POINTS = 6
SUFFIXES = ("", "_log__", "_logodds__", "_interval__")


@pytest.fixture(scope="module", params=model_names())
def prepared(request: pytest.FixtureRequest) -> bc.Prepared:
    """Return each shipped model for a few runs; each run has so few points that none are averaged.

    Domains differ by signs alone, so that both are compared of two models only: each takes PyTensor seconds.
    """
    curves = pilot_runs(read_spec(request.param).law, POINTS)
    both = request.param in {"cpt-replay", "open-checkpoint"}
    return bc.prepare(curves, request.param, domains=None if both else [curves.losses["domain"].min()])


@pytest.fixture(scope="module")
def small(simulated: bc.Curves) -> bc.Prepared:
    return bc.prepare(simulated, "cpt", domains=["pt"])


def in_pymc(prepared: bc.Prepared, vectors: list[np.ndarray]) -> float:
    """Return PyMC's log density at the vectors of the blocks, without the priors of parameters that have no block."""
    model, point = prepared.pymc_model, {}
    entries = {
        entry: vector[place]
        for density, vector in zip(prepared.densities, vectors, strict=True)
        for place, entry in enumerate(density.entries)
    }
    others = [e for e in all_entries(prepared.spec, prepared.observations) if not in_likelihood(prepared.spec, e)]
    entries |= dict.fromkeys(others, 0.1)
    for variable in model.value_vars:
        name = next(
            str(variable.name).removesuffix(suffix)
            for suffix in reversed(SUFFIXES)
            if str(variable.name).endswith(suffix)
        )
        values = [value for entry, value in entries.items() if entry.name == name]
        point[variable.name] = np.array(values) if variable.ndim else values[0]
    # term by term: FAST_COMPILE cannot add as many terms as two domains have
    terms = model.compile_logp(sum=False, mode="FAST_COMPILE")(point)
    without = log_prior(jnp.full(len(others), 0.1), grouped(others)) if others else 0.0
    return float(sum(np.sum(term) for term in terms) - without)


@pytest.mark.slow  # builds every model
def test_the_density_is_that_of_the_model_in_pymc(prepared: bc.Prepared):
    random = np.random.default_rng(1)
    vectors = [density.prior_draws(1, random)[0] for density in prepared.densities]
    found = sum(float(density.at(x)[0]) for density, x in zip(prepared.densities, vectors, strict=True))
    # rows in factors leave out what is below a billionth
    assert found == pytest.approx(in_pymc(prepared, vectors), rel=1e-7)


@pytest.mark.slow  # compiles every model
def test_gradients_are_slopes(prepared: bc.Prepared):
    random = np.random.default_rng(2)
    for density in prepared.densities:
        x, direction = density.prior_draws(3, random), random.standard_normal((3, density.size))
        ends = [density.at(x + move * direction)[0] for move in (1e-6, -1e-6)]
        slope = (density.at(x)[1] * direction).sum(axis=1)
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, slope, rtol=1e-3, atol=1e-2)


@pytest.mark.slow  # compiles two models
@pytest.mark.parametrize(
    ("model", "sizes"), [("cpt-replay", 2), ("open-checkpoint", 1)], ids=["known checkpoint", "open checkpoint"]
)
def test_domains_are_blocks_unless_a_checkpoint_joins_them(model: str, sizes: int):
    prepared = bc.prepare(pilot_runs(read_spec(model).law, POINTS), model)
    assert len(prepared.densities) == sizes
    assert sum(density.size for density in prepared.densities) == len(
        {entry for density in prepared.densities for entry in density.entries}
    )


def test_many_vectors_are_evaluated_as_each_alone(small: bc.Prepared):
    [density] = small.densities
    x = density.prior_draws(5, np.random.default_rng(1)).reshape(5, 1, density.size)
    values, gradients = density.at(x)
    assert values.shape == (5, 1)
    for place, vector in enumerate(x[:, 0]):
        value, gradient = density.alone(vector)
        assert values[place, 0] == pytest.approx(value, rel=1e-9)
        np.testing.assert_allclose(gradients[place, 0], gradient, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_members_with_their_own_losses_are_evaluated_as_each_alone(small: bc.Prepared):
    [density] = small.densities
    random = np.random.default_rng(3)
    x, loss = density.prior_draws(3, random), small.bins["pt"].loss
    losses = loss + 0.1 * random.standard_normal((3, len(loss)))
    values, gradients = side_by_side(density, {"pt": {"loss": losses}}).at(x[:, None])
    for place, row in enumerate(losses):
        value, gradient = replaced(density, {"pt": {"loss": row}}).at(x[place])
        assert values[place, 0] == pytest.approx(float(value), rel=1e-9)
        np.testing.assert_allclose(gradients[place, 0], gradient, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_a_density_that_is_not_finite_is_minus_infinity_without_slope(small: bc.Prepared):
    [density] = small.densities
    x = density.prior_draws(2, np.random.default_rng(1))
    x[0] = np.nan
    values, gradients = density.at(x)
    assert values[0] == -np.inf
    assert np.isfinite(values[1])
    assert not gradients[0].any()


@pytest.mark.slow
def test_losses_left_out_have_no_part_in_the_density(simulated: bc.Curves):
    """The same holdout with other losses has the same density, and losses that are kept do change it."""
    whole = bc.prepare(simulated, "cpt", domains=["pt"], holdouts=[Holdout("late", {"going": 700})])

    def density_of(curves: bc.Curves) -> Density:
        prepared = bc.prepare(curves, "cpt", domains=["pt"], holdouts=[Holdout("late", {"going": 700})])
        kept = prepared.observations.design.step < np.where(
            np.array(prepared.observations.design.runs)[prepared.observations.design.run] == "going", 700, 10**9
        )
        data = prepared.bins["pt"].only(kept[prepared.observations.places["pt"]]).data
        return replaced(prepared.densities[0], {"pt": data})

    def moved(where: str) -> bc.Curves:
        losses = simulated.losses.copy()
        rows = losses.query(where).index
        losses.loc[rows, "loss"] += np.random.default_rng(1).normal(0, 0.002, len(rows))
        return replace(simulated, losses=losses)

    x = whole.densities[0].prior_draws(4, np.random.default_rng(1))
    before = density_of(simulated).at(x)[0]
    np.testing.assert_allclose(density_of(moved("run == 'going' and step >= 700")).at(x)[0], before, rtol=1e-9)
    assert (np.abs(density_of(moved("run == 'going' and step < 700")).at(x)[0] - before) > 1e-6).all()
