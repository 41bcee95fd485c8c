"""Batched HMC: sample many posteriors of one compiled density in parallel; JAX evaluates all of them in one call.

Simulation-based calibration needs a thousand posteriors but few draws of each. Evaluated one at a time, most of the
time would be the overhead of the calls. The first axis of arrays is the posteriors: (members, ...).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.sampling import Density, Whitening, principal_axes, whitening_scale

type Densities = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From vectors (members, size) to log densities (members,) and their gradients (members, size)."""

CLIMBS = 20
"""Number of Newton steps towards the modes."""
DAMPING = (1e-3, 0.03, 0.3, 3.0, 30.0, 300.0)
"""Values added to the curvature in a Newton step; the step that increases the density most is taken."""
LONGEST = 0.5
"""Longest Newton step in any coordinate; most coordinates are logarithms."""
STRIDES = 4
"""Number of times that a step is doubled as long as the density increases, to follow curved ridges."""
DIFFERENCE = 1e-5
"""Step of the finite differences of gradients."""
LEAPFROGS = 8
"""Number of leapfrog steps of a trajectory."""
STEP_SIZES = (0.05, 0.6)
"""Range of the leapfrog step sizes in whitened coordinates, log-uniform: small ones for strong curvature."""


def side_by_side(density: Density, data: Mapping[str, FloatArray]) -> Densities:
    """Return densities that differ in some of their data.

    Parameters
    ----------
    density
        The compiled density.
    data
        By name, (members, ...); all other data are common.
    """
    own = tuple(0 if name in data else None for name in density.data)
    together = _together(density.compiled, own)
    arguments = [data.get(name, values) for name, values in density.data.items()]

    def evaluate(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, gradient = (np.asarray(found, dtype=np.float64) for found in together(x, *arguments))
        finite = np.isfinite(value) & np.isfinite(gradient).all(axis=-1)
        return np.where(finite, value, -np.inf), np.where(finite[:, None], gradient, 0.0)

    return evaluate


@lru_cache(maxsize=1)
def _together(compiled: Callable[..., tuple[Any, Any]], own: tuple[int | None, ...]) -> Callable[..., tuple[Any, Any]]:
    """Return a density of many vectors; cached, so that a model is compiled only once."""
    return jax.jit(jax.vmap(compiled, in_axes=(0, *own)))


def climb(densities: Densities, start: FloatArray) -> Whitening:
    """Climb towards the modes from a start (members, size); return the points reached and their whitening."""
    centre = start
    for _ in range(CLIMBS):
        value, gradient = densities(centre)
        unit, curvature, axes = principal_axes(_precision(densities, centre))
        slope = (np.swapaxes(axes, 1, 2) @ (unit * gradient)[..., None])[..., 0]
        base = centre
        for damping in DAMPING:
            step = unit * (axes @ (slope / (np.abs(curvature) + damping))[..., None])[..., 0]
            shortened = step / np.maximum(np.abs(step).max(axis=1, keepdims=True) / LONGEST, 1)
            centre, value = higher(densities, (centre, value), base + shortened)
        for _ in range(STRIDES):
            centre, value = higher(densities, (centre, value), 2 * centre - base)
    return Whitening(centre, whitening_scale(_precision(densities, centre)))


def higher(
    densities: Densities, found: tuple[FloatArray, FloatArray], candidate: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return, per member, the more probable of the point found (point, log density) and a candidate."""
    point, best = found
    value = densities(candidate)[0]
    return np.where((value > best)[:, None], candidate, point), np.maximum(value, best)


def _precision(densities: Densities, x: FloatArray) -> FloatArray:
    """Return the negative second derivatives (members, size, size)."""
    offsets = DIFFERENCE * np.eye(x.shape[1])
    gradient = densities(x)[1]
    matrix = np.stack([(gradient - densities(x + offset)[1]) / DIFFERENCE for offset in offsets], axis=1)
    return (matrix + np.swapaxes(matrix, 1, 2)) / 2


class Chains(NamedTuple):
    """Chains with one given state.

    Parameters
    ----------
    states
        (members, 1 + draws, size) The given state first.
    log_density
        (members, 1 + draws).
    accepted
        (members,) Mean acceptance probability of the trajectories.
    """

    states: FloatArray
    log_density: FloatArray
    accepted: FloatArray


class State(NamedTuple):
    """States of the chains: whitened coordinates, log density, and its gradient."""

    z: FloatArray
    value: FloatArray
    gradient: FloatArray


def chains_through(
    densities: Densities,
    whitening: Whitening,
    given: FloatArray,
    *,
    draws: int,
    every: int,
    random: np.random.Generator,
    done: Callable[[int, int], None],
) -> Chains:
    """Run chains that have a given state at a random position, backwards and forwards from it.

    The kernel is Hamiltonian Monte Carlo. Its step size is drawn for each trajectory independently of the state, so it
    is reversible, and running backwards is the same as running forwards. If the given state is a draw from the
    posterior, its rank in its chain is uniform, however slowly the chain mixes.

    Parameters
    ----------
    densities, whitening
        The posteriors; the whitening must not depend on the given states.
    given
        (members, size) The given states, unconstrained.
    draws
        Number of other states of each chain.
    every
        Number of trajectories between two states.
    random
        Random generator.
    done
        Called after each draw with the number of draws done and the number of all draws.

    References
    ----------
    Gandy & Scott, *Unit testing for MCMC and other Monte Carlo methods*, 2020, arXiv 2001.06465.
    """
    whitened = _whitened(densities, whitening)
    origin = np.linalg.solve(whitening.scale, (given - whitening.centre)[..., None])[..., 0]
    start = state = State(origin, *whitened(origin))
    back = random.integers(draws + 1, size=len(given))
    states, accepted = [start], []
    for draw in range(draws):
        state = _where(back == draw, start, state)
        for _ in range(every):
            state, probability = _trajectory(whitened, state, random)
            accepted.append(probability)
        states.append(state)
        done(draw + 1, draws)
    return Chains(
        np.stack([_unwhitened(whitening, reached.z) for reached in states], axis=1),
        np.stack([reached.value for reached in states], axis=1),
        np.mean(accepted, axis=0),
    )


def _unwhitened(whitening: Whitening, z: FloatArray) -> FloatArray:
    return whitening.centre + (whitening.scale @ z[..., None])[..., 0]


def _whitened(densities: Densities, whitening: Whitening) -> Densities:
    def evaluate(z: FloatArray) -> tuple[FloatArray, FloatArray]:
        value, gradient = densities(_unwhitened(whitening, z))
        return value, (np.swapaxes(whitening.scale, 1, 2) @ gradient[..., None])[..., 0]

    return evaluate


def _trajectory(densities: Densities, state: State, random: np.random.Generator) -> tuple[State, FloatArray]:
    """Simulate a trajectory, and accept its end or stay; return the acceptance probability too."""
    members = len(state.z)
    step = np.exp(random.uniform(*np.log(STEP_SIZES), size=(members, 1)))
    start = momentum = random.standard_normal(state.z.shape)
    z, value, gradient = state
    for _ in range(LEAPFROGS):
        momentum = momentum + step / 2 * gradient
        z = z + step * momentum
        value, gradient = densities(z)
        momentum = momentum + step / 2 * gradient
    with np.errstate(over="ignore", invalid="ignore"):  # energies overflow outside the support of the density
        gain = value - state.value - 0.5 * ((momentum**2).sum(axis=1) - (start**2).sum(axis=1))
    probability = np.exp(np.minimum(np.nan_to_num(gain, nan=-np.inf), 0))
    return _where(random.uniform(size=members) < probability, State(z, value, gradient), state), probability


def _where(condition: np.ndarray, these: State, those: State) -> State:
    return State(
        np.where(condition[:, None], these.z, those.z),
        np.where(condition, these.value, those.value),
        np.where(condition[:, None], these.gradient, those.gradient),
    )
