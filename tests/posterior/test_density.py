"""The JAX functions of a model agree with PyMC's own."""

import jax
import numpy as np
import pymc as pm
import pytensor.tensor as pt
import pytest
from bayes_cpt.inference.density import Density, constrained, density_of, side_by_side, traced


@pytest.fixture(scope="module")
def pymc_model() -> pm.Model:
    """Return a model with a scalar, a vector in logs, data and a deterministic."""
    with pm.Model(coords={"domain": ["pt", "cpt"]}) as model:
        level = pm.Normal("level", 3.0, 1.0)
        scale = pm.LogNormal("scale", 0.0, 0.5, dims="domain")
        pm.Deterministic("sum", level + scale, dims="domain")
        weight = pm.Data("weight", np.array([1.0, 2.0, 3.0]))
        pm.Normal("loss", level * weight, scale.sum(), observed=pm.Data("observed", np.array([2.0, 7.0, 9.5])))
    return model


@pytest.fixture(scope="module")
def density(pymc_model: pm.Model) -> Density:
    return density_of(pymc_model)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 3))


def test_places_are_those_of_the_variables(density: Density):
    assert {name: places.tolist() for name, places in density.places.items()} == {"level": [0], "scale_log__": [1, 2]}
    assert set(density.data) == {"weight", "observed"}


def test_value_and_gradient_are_those_of_pymc(pymc_model: pm.Model, density: Density, vectors: np.ndarray):
    log_density = pymc_model.compile_logp(mode="FAST_COMPILE")
    gradient = pymc_model.compile_dlogp(mode="FAST_COMPILE")
    for vector in vectors:
        point = {
            name: vector[places] if len(places) > 1 else vector[places][0] for name, places in density.places.items()
        }
        found, slope = density.evaluate(vector)
        assert found == pytest.approx(float(log_density(point)), rel=1e-12)
        np.testing.assert_allclose(slope, gradient(point), rtol=1e-9)


def test_data_can_be_replaced(density: Density, vectors: np.ndarray):
    moved = density._replace(data={**density.data, "observed": density.data["observed"] + 5})
    assert moved.evaluate(vectors[0])[0] != density.evaluate(vectors[0])[0]


def test_many_vectors_are_evaluated_as_each_alone(density: Density, vectors: np.ndarray):
    alone = [density.evaluate(vector) for vector in vectors]
    own = {"observed": np.tile(density.data["observed"], (len(vectors), 1))}
    for values, gradients in (density.one_by_one(vectors), side_by_side(density, own)(vectors)):
        np.testing.assert_allclose(values, [value for value, _ in alone])
        np.testing.assert_allclose(gradients, [gradient for _, gradient in alone])


def test_a_density_that_is_not_finite_is_minus_infinity_without_slope(density: Density):
    values, gradients = density.one_by_one(np.array([[np.nan, 0.0, 0.0], [3.0, 0.0, 0.0]]))
    assert values[0] == -np.inf
    assert np.isfinite(values[1])
    assert not gradients[0].any()


def test_parameters_and_deterministics_follow_from_vectors(pymc_model: pm.Model, vectors: np.ndarray):
    found = constrained(pymc_model, vectors.reshape(2, 2, 3))
    assert {name: values.shape for name, values in found.items()} == {
        "level": (2, 2), "scale": (2, 2, 2), "sum": (2, 2, 2)
    }  # fmt: skip
    np.testing.assert_allclose(found["scale"], np.exp(vectors[:, 1:]).reshape(2, 2, 2))
    np.testing.assert_allclose(found["sum"], found["level"][..., None] + found["scale"])


def test_an_expression_can_be_traced_by_jax():
    x, y = (pt.as_tensor(pt.dscalar(name)) for name in "xy")
    function = traced([x, y], [x * pt.exp(y)])
    assert float(jax.grad(lambda at: function(at, 0.5)[0])(2.0)) == pytest.approx(np.exp(0.5))
