"""The modes from which walkers start, and the curvature there."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

from bayes_cpt.errors import DataError
from bayes_cpt.inference.approximation import INFLATION
from bayes_cpt.inference.mode import STARTS, approximate, distinct, starts_from
from bayes_cpt.posterior.density import Density
from bayes_cpt.posterior.priors import Entry

CENTRE, DEVIATION = np.array([2.0, -1.0, 30.0]), np.array([0.01, 3.0, 0.5])


def density(function: Callable[[Any], Any], size: int) -> Density:
    """Return the density of vectors of a size."""
    entries = tuple(Entry(str(place), "", "Normal", {"mu": 0.0, "sigma": 5.0}) for place in range(size))
    return Density(lambda x, _data: function(x), {"losses": {"pt": {"count": np.ones(2)}}}, entries)


NORMAL = density(lambda x: -0.5 * (((x - CENTRE) / DEVIATION) ** 2).sum(), 3)


def two_hills(x: Any) -> Any:
    """Return the log density of two normals of sd 1, 20 apart in the first coordinate, with shares .8 and .2."""
    away = x - jnp.array([[0.0, 0.0], [20.0, 0.0]])
    return logsumexp(jnp.log(jnp.array([0.8, 0.2])) - 0.5 * (away**2).sum(axis=-1))


def test_the_mode_and_the_curvature_are_found():
    found = distinct(approximate(NORMAL, np.array([[[0.0, 0.0, 29.0], [1.5, 1.0, 31.0]]])))
    assert found.centre.shape == (1, 1, 3)
    np.testing.assert_allclose(found.centre[0, 0], CENTRE, atol=1e-3)
    scale = found.scale[0, 0] / INFLATION
    np.testing.assert_allclose(scale @ scale.T, np.diag(DEVIATION**2), rtol=1e-3, atol=1e-6)


def test_two_modes_are_kept_apart():
    starts = np.array([[[1.0, 1.0], [0.5, -1.0], [19.0, 0.5]]])
    found = distinct(approximate(density(two_hills, 2), starts))
    assert found.centre.shape == (1, 2, 2)
    np.testing.assert_allclose(np.sort(found.centre[0, :, 0]), [0, 20], atol=0.01)


def test_a_density_without_finite_values_is_refused():
    with pytest.raises(DataError, match="no finite density at any start"):
        approximate(density(lambda x: -jnp.inf + 0 * x.sum(), 3), np.zeros((1, 2, 3)))


def test_starts_are_the_most_probable_draws():
    drawn = np.random.default_rng(1).normal(CENTRE, 3 * DEVIATION, (2, 50, 3))
    starts = starts_from(NORMAL, drawn)
    assert starts.shape == (2, STARTS, 3)
    for found, own in zip(starts, drawn, strict=True):
        np.testing.assert_allclose(found[0], np.median(own, axis=0))
        assert NORMAL.values(found[1]) == NORMAL.values(own).max()
