"""The modes of a log density and the curvature there, from which a sampler starts."""

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.inference.approximation import INFLATION, Approximation
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
WIDEST = 5.0
"""Largest standard deviation of a coordinate by the curvature: priors are narrower."""
DIFFERENCE = 1e-5
"""Step of the differences of gradients."""
SLIGHT = 0.01
"""Gain of a Newton step, in nats, below which a climb ends."""
APART = 3.0
"""Root mean square distance over the coordinates, in standard deviations, above which two ends are two modes."""
NEGLIGIBLE = 12.0
"""Difference of log evidence, by the curvature at the mode, above which a lower mode is left out."""


def approximate(densities: Densities, starts: FloatArray) -> Approximation:
    """Return the approximation at the modes to which starts (members, starts, size) climb, the most probable first.

    There is a component per start, with the same weight for all but the negligible ones: where several starts climb
    to one mode, its components are alike.

    Raises
    ------
    DataError
        If no start of a member has a finite density.
    """
    centre, value = climb(densities, starts)
    if not np.isfinite(value).any(axis=1).all():
        raise DataError("the model has no finite density at any start: check the losses and the priors")
    scale = whitening_scale(curvature(densities, centre)[2])
    evidence = value + np.linalg.slogdet(scale)[1]
    order = np.argsort(-evidence, axis=1)
    kept = np.take_along_axis(evidence, order, axis=1) > evidence.max(axis=1, keepdims=True) - NEGLIGIBLE
    with np.errstate(divide="ignore"):
        log_weight = np.log(kept / kept.sum(axis=1, keepdims=True))
    return Approximation(
        np.take_along_axis(centre, order[..., None], axis=1),
        INFLATION * np.take_along_axis(scale, order[..., None, None], axis=1),
        log_weight,
    )


def distinct(found: Approximation) -> Approximation:
    """Return the approximation of one posterior with one component at each of its modes."""
    [centre], [scale], [log_weight] = found.centre, found.scale / INFLATION, found.log_weight
    kept: list[int] = []
    for place in np.flatnonzero(np.isfinite(log_weight)).tolist():
        distances = [np.linalg.solve(scale[other], centre[place] - centre[other]) for other in kept]
        if all(np.sqrt((distance**2).mean()) > APART for distance in distances):
            kept.append(place)
    return Approximation(found.centre[:, kept], found.scale[:, kept], np.full((1, len(kept)), -np.log(len(kept))))


def starts_from(densities: Densities, prior_draws: FloatArray) -> FloatArray:
    """Return starts (members, ``STARTS``, size): the median of draws (members, draws, size), and the most probable."""
    best = np.argsort(-densities.values(prior_draws), axis=1)[:, : STARTS - 1]
    median = np.median(prior_draws, axis=1, keepdims=True)
    return np.concatenate([median, np.take_along_axis(prior_draws, best[..., None], axis=1)], axis=1)


def climb(densities: Densities, start: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Climb towards the modes from starts (..., size); return the ends and the log densities there."""
    centre, value = start, densities.values(start)
    for _ in range(CLIMBS):
        before, (centre, value) = value, _newton_step(densities, centre)
        if not (value > before + SLIGHT).any():
            break
    return centre, value


def _newton_step(densities: Densities, base: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the best of several damped Newton steps from bases (..., size), and the log densities there."""
    value, gradient, curved = curvature(densities, base)
    unit, curvatures, axes = principal_axes(curved)
    slope = (np.swapaxes(axes, -1, -2) @ (unit * gradient)[..., None])[..., 0]
    damped = slope[..., None, :] / (np.abs(curvatures)[..., None, :] + DAMPING[:, None])
    step = unit[..., None, :] * (damped @ np.swapaxes(axes, -1, -2))
    step = step / np.maximum(np.abs(step).max(axis=-1, keepdims=True) / LONGEST, 1)
    found = _highest(densities, base[..., None, :] + step, (base, value))
    return _highest(densities, base[..., None, :] + STRIDES[:, None] * (found[0] - base)[..., None, :], found)


def _highest(
    densities: Densities, candidates: FloatArray, found: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the most probable of candidates (..., n, size) and of what was found, (..., size)."""
    place, best = found
    values = densities.values(candidates)
    chosen = values.argmax(axis=-1)[..., None]
    highest = np.take_along_axis(values, chosen, axis=-1)[..., 0]
    where = np.take_along_axis(candidates, chosen[..., None], axis=-2)[..., 0, :]
    return np.where((highest > best)[..., None], where, place), np.maximum(highest, best)


def curvature(densities: Densities, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the log densities of vectors (..., size), their gradients and negative second derivatives.

    The latter, (..., size, size), are differences of gradients: automatic second derivatives are wrong at the points
    of an interpolation grid.
    """
    size = x.shape[-1]
    value, gradient = densities.at(x[..., None, :] + DIFFERENCE * np.eye(size + 1, size, -1))
    matrix = (gradient[..., :1, :] - gradient[..., 1:, :]) / DIFFERENCE
    return value[..., 0], gradient[..., 0, :], (matrix + np.swapaxes(matrix, -1, -2)) / 2


def whitening_scale(precision: FloatArray) -> FloatArray:
    """Return matrices whose product with their transpose is the inverse of the precision, with bounded scales.

    Parameters
    ----------
    precision
        (..., size, size).
    """
    unit, values, vectors = principal_axes(precision)
    scale = unit[..., :, None] * vectors / np.sqrt(np.maximum(values, 1e-3))[..., None, :]
    deviation = np.sqrt((scale**2).sum(axis=-1, keepdims=True))
    return scale * np.minimum(WIDEST / deviation, 1)


def principal_axes(precision: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each coordinate's scale (..., size), and values and vectors of the precision in these scales."""
    unit = 1 / np.sqrt(np.maximum(np.diagonal(precision, axis1=-2, axis2=-1), 0.05))
    values, vectors = np.linalg.eigh(precision * unit[..., :, None] * unit[..., None, :])
    return unit, values, vectors
