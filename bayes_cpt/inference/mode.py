"""The mode of a log density and the curvature there: coordinates in which a posterior is near a standard normal.

Many densities, or many starts of one, are climbed at once; the members are the first dimension of arrays.
"""

from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.density import Densities

CLIMBS = 20
"""Newton steps towards the modes."""
DAMPING = (1e-3, 0.03, 0.3, 3.0, 30.0, 300.0)
"""Values added to the curvature in a Newton step; of the resulting steps, the highest is taken."""
LONGEST = 0.5
"""Longest Newton step in any coordinate: most are logarithms."""
STRIDES = 4
"""Largest number of doublings of a step, while the density rises: ridges are curved, and damped steps are short."""
DIFFERENCE = 1e-5
"""Step of the differences of gradients."""
SLIGHT = 0.01
"""Gain of a Newton step, in nats, below which a climb ends."""


class Whitening(NamedTuple):
    """Coordinates z in which a posterior is near standard normal: x = centre + scale z.

    Parameters
    ----------
    centre
        (..., size).
    scale
        (..., size, size).
    """

    centre: FloatArray
    scale: FloatArray


def climb(densities: Densities, start: FloatArray) -> tuple[FloatArray, Whitening]:
    """Climb towards the modes from a start (members, size).

    Returns
    -------
    array (members,)
        The log densities there.
    Whitening
        The ends of the climbs, and the curvature there.
    """
    centre, value = start, densities(start)[0]
    for _ in range(CLIMBS):
        before, (centre, value) = value, _newton_step(densities, centre)
        if not (value > before + SLIGHT).any():
            break
    return value, Whitening(centre, whitening_scale(precision(densities, centre)))


def _newton_step(densities: Densities, base: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the best of several damped Newton steps from a base, and the log density there."""
    value, gradient = densities(base)
    found = base, value
    unit, curvature, axes = principal_axes(precision(densities, base))
    slope = (np.swapaxes(axes, 1, 2) @ (unit * gradient)[..., None])[..., 0]
    for damping in DAMPING:
        step = unit * (axes @ (slope / (np.abs(curvature) + damping))[..., None])[..., 0]
        shortened = step / np.maximum(np.abs(step).max(axis=1, keepdims=True) / LONGEST, 1)
        found = higher(densities, found, base + shortened)
    for _ in range(STRIDES):
        found = higher(densities, found, 2 * found[0] - base)
    return found


def higher(
    densities: Densities, found: tuple[FloatArray, FloatArray], candidate: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return, for each member, the more probable of what was found (place, value) and a candidate."""
    place, best = found
    value = densities(candidate)[0]
    return np.where((value > best)[:, None], candidate, place), np.maximum(value, best)


def precision(densities: Densities, x: FloatArray) -> FloatArray:
    """Return the negative second derivatives (members, size, size), by differences of gradients.

    Automatic second derivatives are wrong at the points of an interpolation grid.
    """
    moves = DIFFERENCE * np.eye(x.shape[1])
    here = densities(x)[1]
    matrix = np.stack([(here - densities(x + move)[1]) / DIFFERENCE for move in moves], axis=1)
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
