"""Mixtures of Student t distributions that approximate a posterior: sampling starts in one, and proposes from one.

Approximations decide where walkers start and what is proposed to them. What is kept are draws of the posterior.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayes_cpt._support.typing import FloatArray

FARTHEST = 1e100
"""Distance from a centre at which an approximation stops falling: squares of more would overflow."""
INFLATION = 1.3
"""Scale of an approximation from which walkers start, in standard deviations of what it is fitted to."""
FREEDOM = 6.0
"""Degrees of freedom of an approximation from which walkers start: a posterior has wider tails than its mode shows."""
CLOSE = 30.0
"""Degrees of freedom of an approximation of draws of the posterior itself."""
COMPONENTS = 4
"""Number of components of `mixture`."""
STEPS = 20
"""Steps of the algorithm that fits `mixture`."""
SPREAD = 0.5
"""Variance of a component, as a share of that of all draws, where it has few draws."""


class Approximation(NamedTuple):
    """Mixtures of Student t distributions, one component at each mode or more.

    Parameters
    ----------
    centre
        (members, modes, size). There may be one member for all populations of walkers, or one for each.
    scale
        (members, modes, size, size): x = centre + scale t, with a spherical Student t.
    log_weight
        (members, modes).
    freedom
        Degrees of freedom.
    """

    centre: FloatArray
    scale: FloatArray
    log_weight: FloatArray
    freedom: float = FREEDOM

    def draw(self, shape: tuple[int, int], random: np.random.Generator) -> FloatArray:
        """Draw vectors (populations, walkers, size)."""
        size, share = self.centre.shape[-1], np.exp(self.log_weight).cumsum(axis=1)
        mode = (random.uniform(size=shape)[..., None] > share[:, None]).sum(axis=-1).clip(max=share.shape[1] - 1)
        member = np.broadcast_to(np.arange(len(share))[:, None], shape)
        spread = np.sqrt(self.freedom / random.chisquare(self.freedom, (*shape, 1)))
        moves = (self.scale[member, mode] @ (spread * random.standard_normal((*shape, size)))[..., None])[..., 0]
        return self.centre[member, mode] + moves

    def log_density(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities (populations, walkers) of vectors up to a constant, and their gradients."""
        logs, away, inverse, squares = self._by_component(x)
        total = np.asarray(logsumexp(logs, axis=1))
        pull = -(self.freedom + x.shape[-1]) / (self.freedom + squares) * np.exp(logs - total[:, None])
        return total, ((pull[..., None] * away) @ inverse).sum(axis=1)

    def shares(self, x: FloatArray) -> FloatArray:
        """Return the probabilities (n, modes) that vectors (n, size) come from each component, of the first member."""
        logs = self._by_component(x[None])[0][0]
        return np.exp(logs - logsumexp(logs, axis=0)).T

    def _by_component(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return log densities (members, modes, walkers), distances, inverse scales, and squares of distances."""
        inverse = np.linalg.inv(self.scale)
        away = (x[:, None] - self.centre[:, :, None]) @ np.swapaxes(inverse, -1, -2)  # (members, modes, walkers, size)
        squares = (np.minimum(np.abs(away), FARTHEST) ** 2).sum(axis=-1)
        heights = self.log_weight - np.linalg.slogdet(self.scale)[1]
        fall = (self.freedom + x.shape[-1]) / 2 * np.log1p(squares / self.freedom)
        return heights[..., None] - fall, away, inverse, squares

    def nearest(self, x: FloatArray) -> FloatArray:
        """Return the share of vectors (..., size) that is nearest to each mode, of the first member."""
        away = np.linalg.inv(self.scale[0]) @ (x.reshape(-1, x.shape[-1])[:, None] - self.centre[0])[..., None]
        return np.bincount((away**2).sum(axis=(-1, -2)).argmin(axis=1), minlength=len(self.scale[0])) / len(away)


def around(x: FloatArray, inflation: float = INFLATION, freedom: float = FREEDOM) -> Approximation:
    """Return an approximation with the mean and, inflated, the covariance of draws (..., size)."""
    centre, scale = _mean_and_scale(x.reshape(-1, x.shape[-1]))
    return Approximation(centre[None, None], inflation * scale[None, None], np.zeros((1, 1)), freedom)


def mixture(x: FloatArray, random: np.random.Generator) -> Approximation:
    """Return an approximation of draws (..., size) by several components, which can follow a bent ridge.

    Components are fitted by expectation-maximisation, in coordinates in which the draws are white. Where a component
    has few draws, its covariance is near ``SPREAD`` times that of all draws.
    """
    flat = x.reshape(-1, x.shape[-1])
    centre, scale = _mean_and_scale(flat)
    white = np.linalg.solve(scale, (flat - centre).T).T
    seeds = white[random.choice(len(white), COMPONENTS, replace=False)]
    nearest = ((white[:, None] - seeds) ** 2).sum(axis=-1).argmin(axis=1)
    found = _components(white, 0.9 * np.eye(COMPONENTS)[nearest] + 0.1 / COMPONENTS)
    for _ in range(STEPS):
        found = _components(white, found.shares(white))
    return found._replace(centre=centre + found.centre @ scale.T, scale=scale @ found.scale)


def _components(white: FloatArray, share: FloatArray) -> Approximation:
    """Return the components of white draws (n, size) that belong to each by a share (n, components)."""
    count, size = share.sum(axis=0), white.shape[1]
    centre = share.T @ white / count[:, None]
    away = (white - centre[:, None]) * np.sqrt(share.T)[..., None]
    covariance = np.swapaxes(away, 1, 2) @ away + size * SPREAD * np.eye(size)
    scale = np.linalg.cholesky(covariance / (count + size)[:, None, None])
    return Approximation(centre[None], scale[None], np.log(count / count.sum())[None], CLOSE)


def _mean_and_scale(flat: FloatArray) -> tuple[FloatArray, FloatArray]:
    covariance = np.atleast_2d(np.cov(flat, rowvar=False))
    return flat.mean(axis=0), np.linalg.cholesky(covariance + 1e-12 * np.eye(flat.shape[1]))
