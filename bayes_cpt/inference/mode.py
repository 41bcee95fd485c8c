"""The modes of a log density and the curvature there: an approximation from which a sampler starts."""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.posterior.density import Densities

STARTS = 4
"""Number of points from which modes are sought."""
CANDIDATES = 64
"""Draws from the prior, the most probable of which are starts."""
CLIMBS = 30
"""Newton steps towards the modes."""
DAMPING = np.array([1e-3, 0.03, 0.3, 3.0, 30.0, 300.0])
"""Values added to the curvature in a Newton step; of the resulting steps, the highest is taken."""
LONGEST = 0.7
"""Longest Newton step in any coordinate: most are logarithms."""
STRIDES = np.array([2.0, 4.0, 8.0])
"""Multiples of a step that are tried too: ridges are curved, and damped steps are short."""
DIFFERENCE = 1e-5
"""Step of the differences of gradients."""
SLIGHT = 0.01
"""Gain of a Newton step, in nats, below which a climb ends."""
FREEDOM = 6.0
"""Degrees of freedom of the approximation: a posterior has wider tails than its mode shows."""
FARTHEST = 1e100
"""Distance from a mode at which the approximation stops falling: squares of more would overflow."""
INFLATION = 1.3
"""Scale of the approximation, in standard deviations at the mode."""
APART = 3.0
"""Root mean square distance over the coordinates, in standard deviations, above which two ends are two modes."""
NEGLIGIBLE = 12.0
"""Difference of log evidence, by the curvature at the mode, above which a lower mode is left out."""


class Approximation(NamedTuple):
    """Mixtures of Student t distributions, one component at each mode.

    Parameters
    ----------
    centre
        (members, modes, size). There may be one member for all populations of walkers, or one for each.
    scale
        (members, modes, size, size): x = centre + scale t, with a spherical Student t.
    log_weight
        (members, modes).
    """

    centre: FloatArray
    scale: FloatArray
    log_weight: FloatArray

    def draw(self, shape: tuple[int, int], random: np.random.Generator) -> FloatArray:
        """Draw vectors (populations, walkers, size)."""
        size, share = self.centre.shape[-1], np.exp(self.log_weight).cumsum(axis=1)
        mode = (random.uniform(size=shape)[..., None] > share[:, None]).sum(axis=-1).clip(max=share.shape[1] - 1)
        member = np.broadcast_to(np.arange(len(share))[:, None], shape)
        spread = np.sqrt(FREEDOM / random.chisquare(FREEDOM, (*shape, 1)))
        moves = (self.scale[member, mode] @ (spread * random.standard_normal((*shape, size)))[..., None])[..., 0]
        return self.centre[member, mode] + moves

    def log_density(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities (populations, walkers) of vectors up to a constant, and their gradients."""
        freedom, size = FREEDOM, x.shape[-1]
        inverse = np.linalg.inv(self.scale)
        away = (x[:, None] - self.centre[:, :, None]) @ np.swapaxes(inverse, -1, -2)  # (members, modes, walkers, size)
        squares = (np.minimum(np.abs(away), FARTHEST) ** 2).sum(axis=-1)
        heights = self.log_weight - np.linalg.slogdet(self.scale)[1]
        logs = heights[..., None] - (freedom + size) / 2 * np.log1p(squares / freedom)
        total = np.asarray(logsumexp(logs, axis=1))
        pull = -(freedom + size) / (freedom + squares) * np.exp(logs - total[:, None])
        return total, ((pull[..., None] * away) @ inverse).sum(axis=1)

    def nearest(self, x: FloatArray) -> FloatArray:
        """Return the share of vectors (..., size) that is nearest to each mode, of the first member."""
        away = np.linalg.inv(self.scale[0]) @ (x.reshape(-1, x.shape[-1])[:, None] - self.centre[0])[..., None]
        return np.bincount((away**2).sum(axis=(-1, -2)).argmin(axis=1), minlength=len(self.scale[0])) / len(away)


def around(x: FloatArray) -> Approximation:
    """Return an approximation with the mean and covariance of draws (..., size), somewhat wider."""
    flat = x.reshape(-1, x.shape[-1])
    scale = np.linalg.cholesky(np.cov(flat, rowvar=False) + 1e-12 * np.eye(flat.shape[1]))
    return Approximation(flat.mean(axis=0)[None, None], INFLATION * scale[None, None], np.zeros((1, 1)))


def approximate(densities: Densities, starts: FloatArray) -> Approximation:
    """Return the approximation at the modes to which starts (starts, size) climb.

    Raises
    ------
    DataError
        If no start has a finite density.
    """
    centre, value = climb(densities, starts)
    if not np.isfinite(value).any():
        raise DataError("the model has no finite density at any start: check the losses and the priors")
    scale = whitening_scale(precision(densities, centre))
    evidence = value + np.linalg.slogdet(scale)[1]
    kept: list[int] = []
    for place in np.argsort(-evidence).tolist():
        distances = [np.linalg.solve(scale[other], centre[place] - centre[other]) for other in kept]
        apart = all(np.sqrt((distance**2).mean()) > APART for distance in distances)
        if not kept or (apart and evidence[kept[0]] - evidence[place] < NEGLIGIBLE):
            kept.append(place)
    return Approximation(centre[None, kept], INFLATION * scale[None, kept], np.full((1, len(kept)), -np.log(len(kept))))


def starts_from(densities: Densities, prior_draws: FloatArray, starts: int = STARTS) -> FloatArray:
    """Return starts (starts, size): the median of draws from the prior, and the most probable ones."""
    values = densities(prior_draws)[0]
    return np.vstack([np.median(prior_draws, axis=0), prior_draws[np.argsort(-values)[: starts - 1]]])


def climb(densities: Densities, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Climb towards the modes from starts (members, size); return the ends and the log densities there."""
    centre, value = start, densities(start)[0]
    for _ in range(CLIMBS):
        before, (centre, value) = value, _newton_step(densities, centre)
        if not (value > before + SLIGHT).any():
            break
    return centre, value


def _newton_step(densities: Densities, base: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the best of several damped Newton steps from a base, and the log density there."""
    value, gradient = densities(base)
    unit, curvature, axes = principal_axes(precision(densities, base))
    slope = (np.swapaxes(axes, 1, 2) @ (unit * gradient)[..., None])[..., 0]
    damped = slope[:, None] / (np.abs(curvature)[:, None] + DAMPING[:, None])
    step = unit[:, None] * (damped @ np.swapaxes(axes, 1, 2))
    step = step / np.maximum(np.abs(step).max(axis=-1, keepdims=True) / LONGEST, 1)
    found = _highest(densities, base[:, None] + step, (base, value))
    return _highest(densities, base[:, None] + STRIDES[:, None] * (found[0] - base)[:, None], found)


def _highest(
    densities: Densities, candidates: FloatArray, found: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return, for each member, the most probable of candidates (members, n, size) and of what was found."""
    place, best = found
    values = densities(candidates)[0]
    member, chosen = np.arange(len(place)), values.argmax(axis=1)
    higher = values[member, chosen] > best
    return (
        np.where(higher[:, None], candidates[member, chosen], place),
        np.where(higher, values[member, chosen], best),
    )


def precision(densities: Densities, x: FloatArray) -> FloatArray:
    """Return the negative second derivatives (members, size, size), by differences of gradients.

    Automatic second derivatives are wrong at the points of an interpolation grid.
    """
    moves = DIFFERENCE * np.eye(x.shape[1])
    matrix = (densities(x)[1][:, None] - densities(x[:, None] + moves)[1]) / DIFFERENCE
    return (matrix + np.swapaxes(matrix, 1, 2)) / 2


def whitening_scale(precision: FloatArray) -> FloatArray:
    """Return matrices whose product with their transpose is the inverse of the precision, with bounded scales.

    Parameters
    ----------
    precision
        (..., size, size).
    """
    unit, values, vectors = principal_axes(precision)
    return unit[..., :, None] * vectors / np.sqrt(np.maximum(values, 1e-3))[..., None, :]


def principal_axes(precision: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each coordinate's scale (..., size), and values and vectors of the precision in these scales."""
    unit = 1 / np.sqrt(np.maximum(np.diagonal(precision, axis1=-2, axis2=-1), 0.05))
    values, vectors = np.linalg.eigh(precision * unit[..., :, None] * unit[..., None, :])
    return unit, values, vectors
