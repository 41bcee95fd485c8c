"""What walkers start in and jump to: draws of mixtures, their densities, and how well they follow a posterior."""

import numpy as np
import pytest

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.approximation import CLOSE, Approximation, around, mixture


def bent(count: int, random: np.random.Generator) -> FloatArray:
    """Draw from a normal of sd 1 along the first coordinate, and of sd .3 about half its square in the second."""
    first = random.standard_normal(count)
    return np.stack([first, first**2 / 2 + 0.3 * random.standard_normal(count)], axis=-1)


def log_bent(x: FloatArray) -> FloatArray:
    return -0.5 * (x[..., 0] ** 2 + ((x[..., 1] - x[..., 0] ** 2 / 2) / 0.3) ** 2)


def acceptance(found: Approximation, random: np.random.Generator) -> float:
    """Return the share of draws that an independence chain of the bent density accepts."""
    at, proposed = bent(4000, random)[None], found.draw((1, 4000), random)
    gain = log_bent(proposed) - found.log_density(proposed)[0] - log_bent(at) + found.log_density(at)[0]
    return float(np.exp(np.minimum(gain, 0)).mean())


def test_draws_of_an_approximation_have_its_density():
    """The mean of density ratios of draws is 1 if both are normalised: here, up to the constant of the first."""
    random = np.random.default_rng(1)
    wide, narrow = (around(scale * random.standard_normal((4000, 2))) for scale in (1.5, 1.0))
    x = wide.draw((4, 5000), random)
    ratio = np.exp(narrow.log_density(x)[0] - wide.log_density(x)[0])
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    moved = [wide.log_density(x + move * np.array([1.0, 0.0]))[0] for move in (1e-5, -1e-5)]
    np.testing.assert_allclose((moved[0] - moved[1]) / 2e-5, wide.log_density(x)[1][..., 0], atol=1e-5)


def test_several_components_follow_a_ridge_that_one_does_not():
    random = np.random.default_rng(2)
    x = bent(2000, random)
    several, one = mixture(x, random), around(x, 1.0, CLOSE)
    assert several.centre.shape == (1, 4, 2)
    assert acceptance(several, random) > 1.2 * acceptance(one, random)


def test_each_component_of_a_mixture_finds_its_mode():
    random = np.random.default_rng(3)
    x = random.standard_normal((3000, 2)) + np.where(random.uniform(size=(3000, 1)) < 0.8, [0.0, 0.0], [40.0, 0.0])
    drawn = mixture(x, random).draw((1, 4000), random)[0]
    assert (drawn[:, 0] > 20).mean() == pytest.approx((x[:, 0] > 20).mean(), abs=0.03)
