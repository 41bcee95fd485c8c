"""Batched HMC: sample many posteriors of one compiled density in parallel; JAX evaluates all of them in one call.

Simulation-based calibration needs a thousand posteriors but few draws of each. Evaluated one at a time, most of the
time would be the overhead of the calls. The first axis of arrays is the posteriors: (members, ...).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.density import Densities
from bayes_cpt.inference.mode import Whitening

LEAPFROGS = 8
"""Number of leapfrog steps of a trajectory."""
STEP_SIZES = (0.05, 0.6)
"""Range of the leapfrog step sizes in whitened coordinates, log-uniform: small ones for strong curvature."""


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
