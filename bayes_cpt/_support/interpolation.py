"""Interpolation on even grids as weights, with operators and ufuncs alone: for NumPy and PyTensor."""

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray


def grid_weights(value: Array, grid: FloatArray) -> Array:
    """Return the weights (..., size) that interpolate values (...) on an even grid (size,)."""
    return cubic_weights((value - grid[0]) / (grid[1] - grid[0]), grid.size)


def cubic_weights(place: Array, size: int) -> Array:
    """Return the weights (..., size) that interpolate places (...) on a grid 0, 1, ...: cubic convolution (Keys 1981).

    Beyond the grid the nearest interior value is used.
    """
    first, last = 1.0, size - 2.0
    place = first + _positive_part(place - first) - _positive_part(place - last)
    distance = np.abs(place[..., None] - np.arange(size))
    near, far = _positive_part(1 - distance), _positive_part(2 - distance)
    return 0.5 * far**3 - 0.5 * far**2 - 2 * near**3 + near**2


def _positive_part(values: Array) -> Array:
    """Written without ``np.maximum``, which PyTensor does not take part in."""
    return 0.5 * (values + np.abs(values))
