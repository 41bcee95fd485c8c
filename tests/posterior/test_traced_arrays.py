"""NumPy formulas give the same on arrays that JAX traces."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import bayes_cpt.posterior  # noqa: F401 - double precision
from bayes_cpt.posterior.traced_arrays import Traced, unwrapped

VALUES = np.array([[0.2, 1.5, 3.0], [0.7, 0.1, 2.0]])
GRID = np.arange(3.0)

FORMULAS: dict[str, Callable[[Any], Any]] = {
    "operators": lambda x: -((2 - x) ** 2) / (x + 1) * 3 % 5,
    "reversed": lambda x: GRID - x + GRID * x,
    "ufuncs": lambda x: np.exp(x) + np.log1p(x) * np.expm1(-x) + np.sqrt(x),
    "products": lambda x: GRID[None] @ np.swapaxes(x, -1, -2) + x @ GRID,
    "parts": lambda x: x[..., None, 1:] * x[0, 2],
    "functions": lambda x: np.concatenate([np.stack([x, 2 * x]).sum(axis=0), np.zeros((1, 3))]),
    "methods": lambda x: x.reshape(3, 2).T.sum(axis=0) + x.shape[0],
    "where": lambda x: np.where(x > 1, x, np.maximum(x, 0.5)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_gives_the_same_as_on_numpy(name: str):
    found = jax.jit(lambda x: unwrapped(FORMULAS[name](Traced(x))))(VALUES)
    np.testing.assert_allclose(found, FORMULAS[name](VALUES), rtol=1e-12)


def test_a_function_that_jax_lacks_is_refused():
    missing: Any = np.busday_count
    with pytest.raises(TypeError, match="no implementation"):
        jax.jit(lambda x: unwrapped(missing(Traced(x), Traced(x))))(VALUES)
