"""Walkers reach the posterior in its shares, also from a poor approximation, and stay there."""

import numpy as np
import pytest

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.mode import approximate, around
from bayes_cpt.inference.tempering import Target, common_whitening, tempered, trajectory
from bayes_cpt.posterior.density import finite

CENTRES = np.array([[0.0, 0.0], [12.0, 0.0]])


def nothing(_at: float) -> None:
    """Report nothing."""


def banana(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return a normal of sd 1 along the first coordinate, and of sd .3 about half its square in the second."""
    first, second = x[..., 0], x[..., 1]
    with np.errstate(over="ignore", invalid="ignore"):
        away = (second - first**2 / 2) / 0.3
        gradient = np.stack([-first + away / 0.3 * first, -away / 0.3], axis=-1)
        return finite(-0.5 * (first**2 + away**2), gradient)


def hills(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return two normals of sd 1, 12 apart in the first coordinate, with shares .8 and .2."""
    left, right = (
        np.log(share) - 0.5 * ((x - centre) ** 2).sum(axis=-1)
        for share, centre in zip((0.8, 0.2), CENTRES, strict=True)
    )
    weight = 1 / (1 + np.exp(np.clip(left - right, -500, 500)))
    gradient = -(1 - weight)[..., None] * (x - CENTRES[0]) - weight[..., None] * (x - CENTRES[1])
    return np.logaddexp(left, right), gradient


def test_walkers_reach_a_bent_posterior_from_a_round_approximation():
    random = np.random.default_rng(1)
    target = Target(banana, approximate(banana, np.array([[0.5, 0.5]])))
    walkers, kernel = tempered(target, (4, 64), random, common_whitening, nothing)
    states = []
    for _ in range(60):
        walkers, _accepted = trajectory(target, walkers, kernel, random)
        states.append(walkers.x)
    x = np.concatenate(states[10:], axis=1)
    # E x1 = 0, var x1 = 1, E x2 = 1/2, var x2 = 1/2 + .09
    np.testing.assert_allclose(x.mean(axis=(0, 1)), [0, 0.5], atol=0.08)
    np.testing.assert_allclose(x.reshape(-1, 2).var(axis=0), [1, 0.59], rtol=0.15)


def test_two_modes_are_in_the_draws_in_their_shares():
    random = np.random.default_rng(2)
    found = approximate(hills, CENTRES + 0.5)
    walkers, _kernel = tempered(Target(hills, found), (4, 200), random, common_whitening, nothing)
    share = (walkers.x[..., 0] > 6).mean()
    # 800 walkers, resampled: a standard error of about .02
    assert share == pytest.approx(0.2, abs=0.08)
    np.testing.assert_allclose(np.sort(found.nearest(walkers.x)), [share, 1 - share], atol=0.01)


def test_draws_of_the_posterior_stay_so():
    """Walkers that start as independent draws keep mean and spread: the kernel leaves the posterior as it is."""
    random = np.random.default_rng(3)
    target = Target(banana, around(random.standard_normal((100, 2))))
    first = random.standard_normal((1, 4000))
    x = np.stack([first, first**2 / 2 + 0.3 * random.standard_normal((1, 4000))], axis=-1)
    _walkers, kernel = tempered(target, (1, 200), random, common_whitening, nothing)
    walkers, accepted = target.at(x, 1.0), np.zeros(1)
    for _ in range(5):
        walkers, accepted = trajectory(target, walkers, kernel, random)
    assert accepted.mean() > 0.5
    np.testing.assert_allclose(walkers.x.mean(axis=(0, 1)), [0, 0.5], atol=0.05)
    np.testing.assert_allclose(walkers.x.reshape(-1, 2).var(axis=0), [1, 0.59], rtol=0.1)
