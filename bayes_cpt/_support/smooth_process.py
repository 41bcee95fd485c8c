"""A smooth random function of one variable, by its leading modes."""

from functools import cache

import numpy as np

from bayes_cpt._support.typing import FloatArray

GRID = 120
"""Number of places at which modes are computed; they are interpolated between them."""


def smooth_modes(place: FloatArray, lower: float, upper: float, length: float, count: int) -> FloatArray:
    """Return the leading modes (count, points) of a Matern-3/2 process of unit variance.

    Constant beyond ``lower`` and ``upper``. Independent standard normal effects give the process.

    Parameters
    ----------
    place
        (points,) Where the modes are wanted.
    lower, upper
        Where the process varies.
    length
        Its length scale.
    count
        Number of modes.
    """
    grid, modes = _grid_modes(lower, upper, length, count)
    return np.array([np.interp(place, grid, mode) for mode in modes])


@cache
def _grid_modes(lower: float, upper: float, length: float, count: int) -> tuple[FloatArray, FloatArray]:
    grid = np.linspace(lower, upper, GRID)
    values, vectors = np.linalg.eigh(_matern(np.abs(grid[:, None] - grid) / length))
    return grid, (vectors[:, -count:] * np.sqrt(values[-count:])).T


def _matern(distance: FloatArray) -> FloatArray:
    scaled = np.sqrt(3) * distance
    return (1 + scaled) * np.exp(-scaled)
