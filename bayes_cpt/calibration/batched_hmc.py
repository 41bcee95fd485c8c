"""Many posteriors of one compiled density, side by side: JAX evaluates all of them in one call.

For simulation-based calibration, which wants a thousand posteriors but few draws of each: called one at a time, most
of the time goes into the calls. Arrays have the posteriors first: (members, ...).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.density import Densities
from bayes_cpt.inference.mode import Whitening

LEAPFROGS = 8
"""Steps of a trajectory."""
STEP_SIZES = (0.05, 0.6)
"""Of the trajectories in whitened coordinates, log-uniform: short ones for bends, long ones to move."""


class Chains(NamedTuple):
    """Chains of which one state was given.

    Parameters
    ----------
    states
        (members, 1 + draws, size) The given one first.
    log_density
        (members, 1 + draws).
    accepted
        (members,) Mean chance at which trajectories were accepted.
    """

    states: FloatArray
    log_density: FloatArray
    accepted: FloatArray


class State(NamedTuple):
    """Where the chains are: whitened coordinates, log density, and its gradient by them."""

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
    """Run chains that have a given state at a place chosen at random, backwards from it and forwards.

    Hamiltonian Monte Carlo, its step sizes drawn anew for each trajectory, whatever the state: so it is reversible, and
    backwards is as forwards. If the given state is a draw from the posterior, its rank in its chain is uniform however
    slowly the chain moves (Gandy & Scott 2020, arXiv 2001.06465).

    Parameters
    ----------
    densities, whitening
        The posteriors; the whitening must not depend on the given states.
    given
        (members, size).
    draws
        Other states of each chain.
    every
        Trajectories between two states.
    random
        Source of randomness.
    done
        Called after each draw with how many there are, and are to be.
    """
    whitened = _whitened(densities, whitening)
    origin = np.linalg.solve(whitening.scale, (given - whitening.centre)[..., None])[..., 0]
    start = state = State(origin, *whitened(origin))
    back = random.integers(draws + 1, size=len(given))
    states, accepted = [start], []
    for draw in range(draws):
        state = _where(back == draw, start, state)
        for _ in range(every):
            state, chance = _trajectory(whitened, state, random)
            accepted.append(chance)
        states.append(state)
        done(draw + 1, draws)
    return Chains(
        np.stack([_unwhitened(whitening, one.z) for one in states], axis=1),
        np.stack([one.value for one in states], axis=1),
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
    """Propose the end of a trajectory, and move there or stay; return the chance of moving too."""
    members = len(state.z)
    step = np.exp(random.uniform(*np.log(STEP_SIZES), size=(members, 1)))
    start = momentum = random.standard_normal(state.z.shape)
    z, value, gradient = state
    for _ in range(LEAPFROGS):
        momentum = momentum + step / 2 * gradient
        z = z + step * momentum
        value, gradient = densities(z)
        momentum = momentum + step / 2 * gradient
    with np.errstate(over="ignore", invalid="ignore"):  # where the density ends, energies overflow
        gain = value - state.value - 0.5 * ((momentum**2).sum(axis=1) - (start**2).sum(axis=1))
    chance = np.exp(np.minimum(np.nan_to_num(gain, nan=-np.inf), 0))
    return _where(random.uniform(size=members) < chance, State(z, value, gradient), state), chance


def _where(condition: np.ndarray, these: State, those: State) -> State:
    return State(
        np.where(condition[:, None], these.z, those.z),
        np.where(condition, these.value, those.value),
        np.where(condition[:, None], these.gradient, those.gradient),
    )
