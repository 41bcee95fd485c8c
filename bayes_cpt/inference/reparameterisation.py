"""Coordinates in which the own-share form of replay is straight, where one ratio between 0 and 1 tells of it.

That ratio tells one number: what is left of the shift there. Scale and exponent trade off along a bend that leaves it
as it is, in which a sampler gets stuck (replay 0, 50 and 100 %: 100 effective draws of 1,600, and divergences). So NUTS
moves in that number and the exponent; the posterior is the same. Two such ratios tell both parameters, and then these
coordinates would bend more than the parameters do.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from pymc.blocking import RaveledVars

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.laws.law import DOMAINS

# as PyTensor does where it compiles by JAX: a bend of single precision would not go with gradients of double
jax.config.update("jax_enable_x64", True)

SCALE, EXPONENT = "replay_scale_log__", "replay_exponent_log__"
"""The form's parameters in the unconstrained vector: logs."""
WIDEST = (-20.0, 8.0)
"""Between which the log of the scale is sought."""
HALVINGS = 50


class Bend(NamedTuple):
    """Where the form's parameters stand in the unconstrained vector, and the own share that tells of them.

    Parameters
    ----------
    scale, exponent
        (domains,)
    share
        (domains,) The share of a domain's own data at the ratio.
    """

    scale: IntArray
    exponent: IntArray
    share: FloatArray


def bend_of(start: RaveledVars, domains: Sequence[str], ratios: Collection[float]) -> Bend | None:
    """Return the bend of a model fitted to these replay ratios; None where there is none to straighten.

    That is so unless the form is the own share, and one ratio beside 0 and 1 tells of it.
    """
    inner = [ratio for ratio in ratios if 0 < ratio < 1]
    found, at = {}, 0
    for name, shape, *_ in start.point_map_info or ():
        size = int(np.prod(shape))
        found[name] = np.arange(at, at + size)
        at += size
    if len(inner) != 1 or 0 not in ratios or SCALE not in found or EXPONENT not in found:
        return None
    return Bend(found[SCALE], found[EXPONENT], np.array([DOMAINS[domain].own_share(inner[0]) for domain in domains]))


def left_at(log_scale: Any, log_exponent: Any, share: Any) -> jax.Array:
    """Return the logit of the shift's multiplier at an own share, as a part of 1 - share, than which it is smaller.

    ``(f(share) - f(1)) / (1 - f(1))``, ``f(s) = (1 + s/scale)^-exponent``, as
    `bayes_cpt.laws.replay.left_of_shift`, which JAX cannot trace.
    """
    scale, exponent = jnp.exp(log_scale), jnp.exp(log_exponent)
    there, at_full = -exponent * jnp.log1p(share / scale), -exponent * jnp.log1p(1 / scale)
    log_left = at_full + jnp.log(jnp.expm1(there - at_full)) - jnp.log(-jnp.expm1(at_full)) - jnp.log1p(-share)
    return log_left - jnp.log1p(-jnp.exp(log_left))


def _log_scale(left: jax.Array, log_exponent: jax.Array, share: jax.Array) -> jax.Array:
    """Return the log of the scale that leaves so much: by halving, and a step of Newton's that carries derivatives."""

    def halved(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        middle = (low + high) / 2
        below = left_at(middle, log_exponent, share) < left
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    ends = (jnp.full_like(left, WIDEST[0]), jnp.full_like(left, WIDEST[1]))
    found = jax.lax.stop_gradient(sum(jax.lax.fori_loop(0, HALVINGS, halved, ends)) / 2)
    slope = jax.lax.stop_gradient(jax.grad(left_at)(found, log_exponent, share))
    return found - (left_at(found, log_exponent, share) - left) / slope


def _log_jacobian(left: jax.Array, log_exponent: jax.Array, share: jax.Array) -> jax.Array:
    return -jnp.log(jax.grad(left_at)(_log_scale(left, log_exponent, share), log_exponent, share))


_of_both = (0, 1)
_bent = jax.jit(jax.vmap(_log_scale))
_bent_with_slopes = jax.jit(
    jax.vmap(
        lambda left, log_exponent, share: (
            jax.value_and_grad(_log_scale, _of_both)(left, log_exponent, share),
            jax.value_and_grad(_log_jacobian, _of_both)(left, log_exponent, share),
        )
    )
)


def straight(x: FloatArray, bend: Bend) -> FloatArray:
    """Return the straight coordinates of a vector, or of many (..., size)."""
    moved = np.array(x)
    moved[..., bend.scale] = left_at(x[..., bend.scale], x[..., bend.exponent], bend.share)
    return moved


def bent(moved: FloatArray, bend: Bend) -> FloatArray:
    """Return the vectors (..., size) of straight coordinates."""
    x = np.array(moved)
    left, log_exponent = moved[..., bend.scale], moved[..., bend.exponent]
    shares = np.broadcast_to(bend.share, left.shape)
    x[..., bend.scale] = np.reshape(_bent(left.ravel(), log_exponent.ravel(), shares.ravel()), left.shape)
    return x


def straightened(density: Callable[..., tuple[Any, Any]], bend: Bend) -> Callable[..., tuple[Any, Any]]:
    """Return a log density of straight coordinates, with its gradient, from one of the vector as it is."""

    def moved_density(moved: FloatArray, *data: FloatArray) -> tuple[Any, Any]:
        found = _bent_with_slopes(moved[bend.scale], moved[bend.exponent], bend.share)
        (log_scale, slopes), (log_jacobian, jacobian_slopes) = found
        x = np.array(moved)
        x[bend.scale] = log_scale
        value, own_gradient = density(x, *data)
        gradient = np.array(own_gradient)
        by_scale = gradient[bend.scale]
        gradient[bend.scale] = by_scale * slopes[0] + jacobian_slopes[0]
        gradient[bend.exponent] += by_scale * slopes[1] + jacobian_slopes[1]
        return float(value) + float(np.sum(log_jacobian)), gradient

    return moved_density
