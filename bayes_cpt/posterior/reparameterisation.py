"""Straight coordinates of the own-share form of replay, where a single ratio between 0 and 1 informs it.

That ratio identifies one number: the remaining share of the shift there. Scale and exponent trade off along a curve of
equal share, in which a sampler gets stuck (replay 0, 50 and 100 %: 100 effective draws of 1,600, and divergences). So
the sampler moves in that number and the exponent; the posterior is the same. Two such ratios identify both parameters,
and then these coordinates would be more curved than the parameters.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytensor.tensor as pt

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.inference.density import Function, traced
from bayes_cpt.laws.law import DOMAINS
from bayes_cpt.laws.replay import left_of_shift

SCALE, EXPONENT = "replay_scale_log__", "replay_exponent_log__"
"""The form's parameters in the unconstrained vector: logs."""
WIDEST = (-20.0, 8.0)
"""Range in which the log of the scale is sought."""
HALVINGS = 50


class Bend(NamedTuple):
    """The form's parameters in the unconstrained vector, and the own share that informs them.

    Parameters
    ----------
    scale, exponent
        (domains,) Indices in the vector.
    share
        (domains,) The share of a domain's own data at the ratio.
    """

    scale: tuple[int, ...]
    exponent: tuple[int, ...]
    share: tuple[float, ...]


def bend_of(places: Mapping[str, IntArray], domains: Sequence[str], ratios: Collection[float]) -> Bend | None:
    """Return the bend of a model fitted to these replay ratios; None if there is none to straighten.

    There is one if the model has the own-share form, and a single ratio between 0 and 1 informs it.

    Parameters
    ----------
    places
        By unconstrained variable, its indices in the vector.
    domains
        Fitted domains, in the order of the variables.
    ratios
        Replay ratios of the fitted runs.
    """
    inner = [ratio for ratio in ratios if 0 < ratio < 1]
    if len(inner) != 1 or 0 not in ratios or SCALE not in places or EXPONENT not in places:
        return None
    share = tuple(DOMAINS[domain].own_share(inner[0]) for domain in domains)
    return Bend(tuple(places[SCALE].tolist()), tuple(places[EXPONENT].tolist()), share)


def left_at(log_scale: Any, log_exponent: Any, share: Any) -> jax.Array:
    """Return the logit of the remaining shift at an own share over 1 - share, a ratio between 0 and 1."""
    (left,) = _left_of_shift()(share, jnp.exp(log_scale), jnp.exp(log_exponent))
    log_left = jnp.log(left) - jnp.log1p(-share)
    return log_left - jnp.log1p(-jnp.exp(log_left))


@cache
def _left_of_shift() -> Callable[..., Sequence[jax.Array]]:
    """Return `bayes_cpt.laws.replay.left_of_shift` as a function that JAX can trace."""
    inputs = [pt.dscalar(name) for name in ("own_share", "replay_scale", "replay_exponent")]
    return traced(inputs, [left_of_shift(*inputs)])


def _log_scale(left: jax.Array, log_exponent: jax.Array, share: jax.Array) -> jax.Array:
    """Return the log of the scale that leaves so much: by halving, and a step of Newton's that carries derivatives."""

    def halved(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        below = left_at(middle, log_exponent, share) < left
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = (jnp.full_like(left, WIDEST[0]), jnp.full_like(left, WIDEST[1]))
    found = jax.lax.stop_gradient(sum(jax.lax.fori_loop(0, HALVINGS, halved, ends)) / 2)
    slope = jax.lax.stop_gradient(_slope(found, log_exponent, share))
    return found - (left_at(found, log_exponent, share) - left) / slope


_all_left = jnp.vectorize(left_at)
_slope = jax.grad(left_at)
_log_scales = jax.vmap(_log_scale)


def straight(x: FloatArray, bend: Bend) -> FloatArray:
    """Return the straight coordinates of a vector, or of many (..., size)."""
    moved = np.array(x)
    moved[..., list(bend.scale)] = _all_left(
        x[..., list(bend.scale)], x[..., list(bend.exponent)], np.array(bend.share)
    )
    return moved


def bent(moved: FloatArray, bend: Bend) -> FloatArray:
    """Return the vectors (..., size) of straight coordinates."""
    flat = moved.reshape(-1, moved.shape[-1])
    return np.asarray(_all_bent(bend)(flat)).reshape(moved.shape)


@lru_cache(maxsize=8)
def _all_bent(bend: Bend) -> Any:
    return jax.jit(jax.vmap(lambda moved: _bent(moved, bend)))


def _bent(moved: jax.Array, bend: Bend) -> jax.Array:
    scale, exponent, share = (jnp.array(part) for part in bend)
    return jnp.asarray(moved).at[scale].set(_log_scales(moved[scale], moved[exponent], share))


def _log_jacobian(moved: jax.Array, bend: Bend) -> jax.Array:
    """Return the log of the Jacobian determinant of ``_bent``."""
    scale, exponent, share = (jnp.array(part) for part in bend)
    slopes = jax.vmap(_slope)(_bent(moved, bend)[scale], moved[exponent], share)
    return -jnp.log(slopes).sum()


@lru_cache(maxsize=8)
def straightened(function: Function, bend: Bend) -> Function:
    """Return a log density of straight coordinates, with its gradient, from one of the unconstrained vector."""

    def moved_function(moved: jax.Array, *data: jax.Array) -> tuple[jax.Array, jax.Array]:
        x, pulled_back = jax.vjp(lambda at: _bent(at, bend), moved)
        value, gradient = function(x, *data)
        stretch, stretch_gradient = jax.value_and_grad(_log_jacobian)(moved, bend)
        return value + stretch, pulled_back(gradient)[0] + stretch_gradient

    return moved_function
