"""The approximation from which walkers start: modes, curvature, and what is drawn from it."""

import numpy as np
import pytest
from scipy.special import logsumexp

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.inference.mode import INFLATION, approximate, around, starts_from

CENTRE, DEVIATION = np.array([2.0, -1.0, 30.0]), np.array([0.01, 3.0, 0.5])


def normal(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    standard = (x - CENTRE) / DEVIATION
    return -0.5 * (standard**2).sum(axis=-1), -standard / DEVIATION


def two_hills(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the density of two normals of sd 1, 20 apart in the first coordinate, with shares .8 and .2."""
    centres, log_share = np.array([[0.0, 0.0], [20.0, 0.0]]), np.log([0.8, 0.2])
    away = x[..., None, :] - centres
    logs = log_share - 0.5 * (away**2).sum(axis=-1)
    total = np.asarray(logsumexp(logs, axis=-1))
    return total, -(np.exp(logs - total[..., None])[..., None] * away).sum(axis=-2)


def test_the_mode_and_the_curvature_are_found():
    found = approximate(normal, np.array([[0.0, 0.0, 29.0], [1.5, 1.0, 31.0]]))
    assert found.centre.shape == (1, 1, 3)
    np.testing.assert_allclose(found.centre[0, 0], CENTRE, atol=1e-3)
    scale = found.scale[0, 0] / INFLATION
    np.testing.assert_allclose(scale @ scale.T, np.diag(DEVIATION**2), rtol=1e-3, atol=1e-6)


def test_two_modes_are_kept_apart():
    found = approximate(two_hills, np.array([[1.0, 1.0], [0.5, -1.0], [19.0, 0.5]]))
    np.testing.assert_allclose(np.sort(found.centre[0, :, 0]), [0, 20], atol=0.01)


def test_a_density_without_finite_values_is_refused():
    def nowhere(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full(x.shape[:-1], -np.inf), np.zeros(x.shape)

    with pytest.raises(DataError, match="no finite density at any start"):
        approximate(nowhere, np.zeros((2, 3)))


def test_starts_are_the_most_probable_draws():
    drawn = np.random.default_rng(1).normal(CENTRE, 3 * DEVIATION, (50, 3))
    starts = starts_from(normal, drawn, 3)
    np.testing.assert_allclose(starts[0], np.median(drawn, axis=0))
    assert normal(starts[1])[0] == normal(drawn)[0].max()


def test_draws_of_an_approximation_have_its_density():
    """The mean of density ratios of draws is 1 if both are normalised: here, up to the constant of the first."""
    random = np.random.default_rng(1)
    wide, narrow = (around(scale * random.standard_normal((4000, 2))) for scale in (1.5, 1.0))
    x = wide.draw((4, 5000), random)
    ratio = np.exp(narrow.log_density(x)[0] - wide.log_density(x)[0])
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    moved = [wide.log_density(x + move * np.array([1.0, 0.0]))[0] for move in (1e-5, -1e-5)]
    np.testing.assert_allclose((moved[0] - moved[1]) / 2e-5, wide.log_density(x)[1][..., 0], atol=1e-5)
