"""Walkers reach the posterior in its shares, also from a poor approximation, and stay there."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import SamplingError
from bayes_cpt.inference.approximation import Approximation, around, mixture
from bayes_cpt.inference.mode import approximate
from bayes_cpt.inference.tempering import (
    POSTERIOR,
    Target,
    common_whitening,
    jumped,
    moved,
    square_root,
    tempered,
    trajectory,
    with_proposal,
)
from bayes_cpt.posterior.density import Density
from bayes_cpt.posterior.priors import Entry

CENTRES = np.array([[0.0, 0.0], [12.0, 0.0]])


def density(function: Callable[[Any], Any]) -> Density:
    """Return the density of vectors of two coordinates."""
    entries = tuple(Entry(name, "", "Normal", {"mu": 0.0, "sigma": 5.0}) for name in "ab")
    return Density(lambda x, _data: function(x), {"losses": {"pt": {"count": np.ones(2)}}}, entries)


# a normal of sd 1 along the first coordinate, and of sd .3 about half its square in the second
BANANA = density(lambda x: -0.5 * (x[0] ** 2 + ((x[1] - x[0] ** 2 / 2) / 0.3) ** 2))
# two normals of sd 1, 12 apart in the first coordinate, with shares .8 and .2
HILLS = density(
    lambda x: jnp.logaddexp(
        jnp.log(0.8) - 0.5 * ((x - CENTRES[0]) ** 2).sum(), jnp.log(0.2) - 0.5 * ((x - CENTRES[1]) ** 2).sum()
    )
)


def test_walkers_reach_a_bent_posterior_from_a_round_approximation():
    random = np.random.default_rng(1)
    target = Target(BANANA, approximate(BANANA, np.array([[[0.5, 0.5]]])))
    walkers, kernel, _states = tempered(target, (4, 64), random, common_whitening)
    states = []
    for _ in range(60):
        walkers, _accepted = trajectory(target, walkers, kernel, random)
        states.append(walkers.x)
    x = np.concatenate(states[10:], axis=1)
    # E x1 = 0, var x1 = 1, E x2 = 1/2, var x2 = 1/2 + .09
    np.testing.assert_allclose(x.mean(axis=(0, 1)), [0, 0.5], atol=0.08)
    np.testing.assert_allclose(x.reshape(-1, 2).var(axis=0), [1, 0.59], rtol=0.15)


def test_a_density_without_finite_values_is_refused():
    nowhere = density(lambda x: -jnp.inf + 0 * x.sum())
    target = Target(nowhere, approximate(HILLS, CENTRES[None]))
    with pytest.raises(SamplingError, match="no finite density"):
        tempered(target, (2, 8), np.random.default_rng(1), common_whitening)


def test_two_modes_are_in_the_draws_in_their_shares():
    random = np.random.default_rng(2)
    found = approximate(HILLS, CENTRES[None] + 0.5)
    walkers, _kernel, _states = tempered(Target(HILLS, found), (4, 200), random, common_whitening)
    share = (walkers.x[..., 0] > 6).mean()
    # 800 walkers, resampled: a standard error of about .02
    assert share == pytest.approx(0.2, abs=0.08)
    np.testing.assert_allclose(np.sort(found.nearest(walkers.x)), [share, 1 - share], atol=0.01)


class Normals:
    """Normal posteriors of two coordinates, one per population, with centre 0 and a standard deviation each."""

    deviation = np.array([1.0, 0.02, 1.0])

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities and their gradients."""
        precision = (self.deviation**-2)[:, None, None]
        return -0.5 * (precision * x**2).sum(axis=-1), -precision * x

    def values(self, x: FloatArray) -> FloatArray:
        """Return the log densities."""
        return self.at(x)[0]


def test_populations_of_different_posteriors_each_reach_their_own():
    """One approximation is 50 times too wide, one far away: neither holds the others back, nor is left behind."""
    random, members = np.random.default_rng(6), 3
    centre = np.zeros((members, 1, 2))
    centre[2] = 8.0
    wide = Approximation(centre, np.broadcast_to(np.eye(2), (members, 1, 2, 2)), np.zeros((members, 1)))

    def whiten(x: FloatArray) -> FloatArray:
        return square_root(np.array([np.cov(each, rowvar=False) for each in x]))

    walkers, kernel, _states = tempered(Target(Normals(), wide), (members, 400), random, whiten)
    assert kernel.step.shape == (members, 1, 1)
    for found, deviation in zip(walkers.x, Normals.deviation, strict=True):
        np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.25 * deviation)
        np.testing.assert_allclose(found.std(axis=0), deviation, rtol=0.15)


def test_draws_of_the_posterior_stay_so():
    """Walkers that start as independent draws keep mean and spread: the kernel leaves the posterior as it is."""
    random = np.random.default_rng(3)
    target = Target(BANANA, around(random.standard_normal((100, 2))))
    first = random.standard_normal((1, 4000))
    x = np.stack([first, first**2 / 2 + 0.3 * random.standard_normal((1, 4000))], axis=-1)
    _walkers, kernel, _states = tempered(target, (1, 200), random, common_whitening)
    walkers, accepted = target.at(x, POSTERIOR), np.zeros(1)
    for _ in range(5):
        walkers, accepted = trajectory(target, walkers, kernel, random)
    assert accepted.mean() > 0.5
    np.testing.assert_allclose(walkers.x.mean(axis=(0, 1)), [0, 0.5], atol=0.05)
    np.testing.assert_allclose(walkers.x.reshape(-1, 2).var(axis=0), [1, 0.59], rtol=0.1)


def test_jumps_alone_keep_the_posterior_and_forget_where_they_came_from():
    random = np.random.default_rng(4)
    target = Target(BANANA, around(random.standard_normal((100, 2))))
    first = random.standard_normal((4, 1000))
    x = np.stack([first, first**2 / 2 + 0.3 * random.standard_normal((4, 1000))], axis=-1)
    start, kernel, _states = tempered(target, (4, 50), random, common_whitening)
    kernel = with_proposal(target, start, kernel, random, mixture(x, random))
    walkers, accepted = jumped(target, target.at(x, POSTERIOR), kernel, random)
    assert accepted.any(axis=1).mean() > 0.8
    np.testing.assert_allclose(walkers.x.mean(axis=(0, 1)), [0, 0.5], atol=0.08)
    np.testing.assert_allclose(walkers.x.reshape(-1, 2).var(axis=0), [1, 0.59], rtol=0.12)
    assert abs(np.corrcoef(walkers.x[..., 0].ravel(), x[..., 0].ravel())[0, 1]) < 0.25
    np.testing.assert_allclose(walkers.value, BANANA.values(walkers.x))


def test_walkers_jump_between_modes_that_no_trajectory_joins():
    random = np.random.default_rng(5)
    target = Target(HILLS, approximate(HILLS, CENTRES[None] + 0.5))
    walkers, kernel, states = tempered(target, (1, 200), random, common_whitening)
    kernel = with_proposal(target, walkers, kernel, random, mixture(states, random))
    before = walkers.x[..., 0] > 6
    for _ in range(10):
        walkers = moved(target, walkers, kernel, random)
    assert (before & (walkers.x[..., 0] < 6)).any()
    assert (~before & (walkers.x[..., 0] > 6)).any()


def test_a_square_root_gives_the_covariance_back_even_if_it_is_nearly_flat():
    random = np.random.default_rng(1)
    wide = random.standard_normal((3, 5, 4))
    covariance = np.swapaxes(wide, 1, 2) @ wide
    root = square_root(covariance)
    np.testing.assert_allclose(root @ np.swapaxes(root, 1, 2), covariance, rtol=1e-9, atol=1e-9)
    flat = np.outer([1e6, 1.0], [1e6, 1.0])
    assert np.isfinite(np.linalg.inv(square_root(flat))).all()
