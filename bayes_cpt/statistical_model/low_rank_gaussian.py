"""Gaussian vectors whose covariance is a diagonal plus a few outer products, by Woodbury's identity.

A residual r of n points is Normal(0, S) with ``S = W^-1 + Z^T Z``: W the diagonal weights (the inverse variance of the
noise), Z the columns (k, n) of k effects at one standard deviation. Then ``S^-1 = W - W Z^T M^-1 Z W`` and
``det S = det M / det W`` with ``M = I + Z W Z^T``, at a cost linear in n. Everything runs on NumPy and on ``jax.numpy``
(the argument ``xp``), with leading dimensions.

``r^T S^-1 r`` is computed as ``(r - Z^T e)^T W (r - Z^T e) + e^T e`` with ``e = M^-1 Z W r``, the least value over all
e: where Z is so large that rounding spoils e, it comes out too large. The shorter ``r^T W (r - Z^T e)`` may then come
out below 0, and a sampler is drawn to a density that is not there.

The gradient is written out: a few products, the same for NumPy and JAX. Automatic differentiation of the same formula
takes twice the time.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray

RIDGE = 1e-12
"""Share by which the diagonal of M is raised: else rounding may leave no Cholesky factor where effects look alike."""


class Factor(NamedTuple):
    """The factorisation that all uses of the identity share.

    Parameters
    ----------
    weighted
        (..., k, n) Z W.
    lower
        (..., k, k) Cholesky factor of M.
    """

    weighted: Array
    lower: Array


def factor(weight: Array, columns: Array, xp: ModuleType = np) -> Factor:
    """Return Z W and the Cholesky factor of M, from weights (..., n) and columns (..., k, n)."""
    weighted = columns * weight[..., None, :]
    one = xp.eye(columns.shape[-2])
    capacitance = one + weighted @ xp.swapaxes(columns, -1, -2)
    capacitance = capacitance + RIDGE * one * capacitance
    return Factor(weighted, xp.linalg.cholesky(capacitance))


def log_density(residual: FloatArray, variance: FloatArray, columns: FloatArray) -> FloatArray:
    """Return the log density (draws,) of residuals that are Normal(0, diag(variance) + columns^T columns).

    Parameters
    ----------
    residual, variance
        (draws, points).
    columns
        (draws, effects, points) Effects at one standard deviation.
    """
    weighted, lower = factor(1 / variance, columns)
    projected = np.linalg.solve(lower, weighted @ residual[..., None])
    effects = np.linalg.solve(np.swapaxes(lower, -1, -2), projected)[..., 0]
    left = residual - (effects[..., None, :] @ columns)[..., 0, :]
    squares = (left**2 / variance).sum(axis=-1) + (effects**2).sum(axis=-1)
    log_determinant = 2 * np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1)
    return -0.5 * (squares + np.log(2 * np.pi * variance).sum(axis=-1) + log_determinant)


def draw_effects(
    residual: FloatArray, variance: FloatArray, columns: FloatArray, random: np.random.Generator
) -> FloatArray:
    """Draw standard normal effects (draws, effects) given residuals = effects @ columns + noise; shapes as above."""
    weighted, lower = factor(1 / variance, columns)
    projected = np.linalg.solve(lower, weighted @ residual[..., None])
    noise = random.standard_normal(projected.shape)
    return np.linalg.solve(np.swapaxes(lower, -1, -2), projected + noise)[..., 0]


def value_and_gradient(residual: Array, weight: Array, columns: Array, xp: ModuleType = np) -> tuple[Array, ...]:
    """Return ``-(r^T S^-1 r + log det M) / 2`` and its gradients by r, W and Z, for (n,), (n,) and (k, n).

    Residuals of weight 0 do not count.
    """
    weighted, lower = factor(weight, columns, xp)
    lower_inverse = xp.linalg.inv(lower)
    inverse = lower_inverse.T @ lower_inverse
    effects = inverse @ (weighted @ residual)
    spread = inverse @ columns
    left = residual - effects @ columns
    value = -0.5 * ((weight * left**2).sum() + (effects**2).sum()) - xp.log(xp.diagonal(lower)).sum()
    gradient_weight = -0.5 * (left**2 + (columns * spread).sum(axis=0))
    gradient_columns = effects[:, None] * (weight * left) - spread * weight
    return value, -weight * left, gradient_weight, gradient_columns
