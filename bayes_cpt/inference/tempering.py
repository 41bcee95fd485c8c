"""Many chains at once, tempered from an approximation of the posterior: sequential Monte Carlo with HMC moves.

Walkers start in an approximation q of the posterior p (`bayes_cpt.inference.approximation`) and move through
q^(1-b) p^b from b = 0 to 1. At each step of b they are weighted by how the density changed, resampled, and moved by
Hamiltonian Monte Carlo (HMC). At b = 1 each walker is a chain of the exact posterior: the approximation decides where
chains start and how they move, not what their draws are.

At b = 1 walkers also jump: draws of an approximation of where they have been are proposed to them, and accepted as
Metropolis and Hastings say. Jumps take walkers far where the approximation is good, at a value each; HMC takes them
through what it misses.

Walkers are in populations, which are resampled apart from each other. So populations that found modes in other shares
disagree, as chains do that started elsewhere. Populations may also be of different posteriors, as in calibration.

Del Moral, Doucet & Jasra, *Sequential Monte Carlo samplers*, J. R. Stat. Soc. B 68, 2006; Buchholz, Chopin & Jacob,
*Adaptive tuning of Hamiltonian Monte Carlo within sequential Monte Carlo*, Bayesian Analysis 16, 2021; Gabrié,
Rotskoff & Vanden-Eijnden, *Adaptive Monte Carlo augmented with normalizing flows*, PNAS 119, 2022 (jumps).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import SamplingError
from bayes_cpt.inference.approximation import Approximation
from bayes_cpt.posterior.density import Densities

STEP = 0.35
"""First step size, in whitened coordinates."""
STEP_RANGE = (0.3, 1.2)
"""Range of a trajectory's step size, as multiples of the size in use: trajectories of one length could return."""
TARGET = 0.85
"""Acceptance probability to which the step size is adapted, before draws are kept."""
GAIN = 0.6
"""Change of the log of the step size by an acceptance probability 1 too high or too low."""
EFFECTIVE = 0.5
"""Share of the walkers that stay effective in one step of temperature."""
MOVES = 2
"""Trajectories after each step of temperature."""
HALVINGS = 30
POSTERIOR = np.ones((1, 1))
"""Inverse temperature of the posterior, for all populations."""
SMALLEST = 0.001
"""Smallest step of the inverse temperature."""
TRIED = 4
"""Jumps proposed to each walker to see how many are accepted."""
STAYING = 0.1
"""Share of the walkers that accept none of the jumps of a move."""
MOST_JUMPS = 16
"""Largest number of jumps proposed to a walker in a move: they cost as much as a trajectory."""


class Effort(NamedTuple):
    """How much is done before draws are kept.

    Parameters
    ----------
    leapfrogs
        Number of leapfrog steps of a trajectory; longer ones pay where a posterior is far from normal.
    settling
        Number of trajectories at the posterior; coordinates are whitened again halfway.
    """

    leapfrogs: int
    settling: int


FROM_MODES = Effort(leapfrogs=8, settling=8)
FROM_POSTERIOR = Effort(leapfrogs=4, settling=4)
"""From the posterior of nearly the same data."""

type Whiten = Callable[[FloatArray], FloatArray]
"""From vectors (populations, walkers, size) to a scale (populations or 1, size, size) in which they are white."""


class Walkers(NamedTuple):
    """Walkers in populations, with both log densities and their gradients.

    Parameters
    ----------
    x
        (populations, walkers, size) Unconstrained vectors.
    value, gradient
        Log density of the posterior, (populations, walkers), and its gradient (populations, walkers, size).
    near, near_gradient
        The same of the approximation.
    """

    x: FloatArray
    value: FloatArray
    gradient: FloatArray
    near: FloatArray
    near_gradient: FloatArray

    def at_temperature(self, inverse: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log density at inverse temperatures (populations or 1, 1), and its gradient."""
        if (inverse == 1).all():
            return self.value, self.gradient
        slope = inverse[..., None]
        return (
            inverse * self.value + (1 - inverse) * self.near,
            slope * self.gradient + (1 - slope) * self.near_gradient,
        )


class Kernel(NamedTuple):
    """How walkers move.

    Parameters
    ----------
    scale
        (populations or 1, size, size) Trajectories are in coordinates z with x = scale z.
    step
        (populations or 1, 1, 1) Size of a leapfrog step: populations of different posteriors have their own.
    leapfrogs
        Number of leapfrog steps of a trajectory.
    proposal
        What jumps are drawn from.
    jumps
        Number of jumps proposed in a move.
    """

    scale: FloatArray
    step: FloatArray
    proposal: Approximation
    leapfrogs: int
    jumps: int = TRIED


class Target(NamedTuple):
    """What walkers move to, and where they come from."""

    densities: Densities
    approximation: Approximation

    def at(self, x: FloatArray, inverse: FloatArray) -> Walkers:
        """Return walkers at vectors (populations, walkers, size); the approximation matters below 1 alone."""
        value, gradient = self.densities.at(x)
        near = (value, gradient) if (inverse == 1).all() else self.approximation.log_density(x)
        return Walkers(x, value, gradient, *near)


def tempered(
    target: Target,
    shape: tuple[int, int],
    random: np.random.Generator,
    whiten: Whiten,
    *,
    done: Callable[[float], None] = lambda _inverse: None,
    effort: Effort = FROM_MODES,
) -> tuple[Walkers, Kernel, FloatArray]:
    """Move walkers from an approximation to the posterior.

    Parameters
    ----------
    target
        The posterior and its approximation.
    shape
        Number of populations, and of walkers in each.
    random
        Source of randomness.
    whiten
        How coordinates are adapted: `common_whitening` if all populations are of one posterior.
    done
        Called after each step of temperature with the inverse temperature.
    effort
        How much is done before draws are kept.

    Returns
    -------
    Walkers
        At the posterior.
    Kernel
        Adapted to it; jumps are from the approximation until `with_proposal` is called.
    array (states, populations, walkers, size)
        Where walkers were while they settled.

    Raises
    ------
    SamplingError
        If the density is finite nowhere in a population.
    """
    walkers = target.at(target.approximation.draw(shape, random), np.zeros((1, 1)))
    if not np.isfinite(walkers.value).any(axis=1).all():
        raise SamplingError("the posterior has no finite density near its mode: check the losses and the priors")
    scale = whiten(walkers.x)
    inverse = np.zeros((len(scale), 1))
    kernel = Kernel(scale, np.full((len(scale), 1, 1), STEP), target.approximation, effort.leapfrogs)
    while (inverse < 1).any():
        gain = walkers.value - walkers.near
        change = _next_change(gain, 1 - inverse)
        inverse = np.where(change == 1 - inverse, 1.0, inverse + change)
        walkers = _resampled(walkers, change * gain, random)
        kernel = kernel._replace(scale=whiten(walkers.x))
        for _ in range(MOVES):
            walkers, kernel = _adapted(target, walkers, kernel, random, inverse)
        done(float(inverse.min()))
    states = []
    for place in range(effort.settling):
        if place in {0, effort.settling // 2}:
            kernel = kernel._replace(scale=whiten(walkers.x))
        walkers, kernel = _adapted(target, walkers, kernel, random, POSTERIOR)
        states.append(walkers.x)
    return walkers, kernel._replace(scale=whiten(np.concatenate(states, axis=1))), np.array(states)


def _next_change(gain: FloatArray, left: FloatArray) -> FloatArray:
    """Return the largest changes of the inverse temperatures (populations or 1, 1) at which enough walkers matter.

    Populations of one posterior change together, by their mean; those of different posteriors each as they need.
    """

    def effective(change: FloatArray) -> FloatArray:
        log_weight = change * gain
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        share = weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1) / gain.shape[1]
        return share.reshape(len(left), -1).mean(axis=1, keepdims=True)

    low, high = np.zeros_like(left), left
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = effective(middle) >= EFFECTIVE
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    return np.where(effective(left) >= EFFECTIVE, left, np.minimum(np.maximum(low, SMALLEST), left))


def _resampled(walkers: Walkers, log_weight: FloatArray, random: np.random.Generator) -> Walkers:
    """Resample each population, by systematic resampling."""
    populations, count = log_weight.shape
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    ends = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
    points = (np.arange(count) + random.uniform(size=(populations, 1))) / count
    chosen = (points[..., None] > ends[:, None]).sum(axis=-1).clip(max=count - 1)
    return Walkers(*(values[np.arange(populations)[:, None], chosen] for values in walkers))


def _adapted(
    target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator, inverse: FloatArray
) -> tuple[Walkers, Kernel]:
    """Move walkers by a trajectory, and adapt the step size: to all populations, or to each if each has its own."""
    walkers, accepted = trajectory(target, walkers, kernel, random, inverse)
    mean = accepted.reshape(len(kernel.step), -1).mean(axis=1)
    return walkers, kernel._replace(step=kernel.step * np.exp(GAIN * (mean - TARGET))[:, None, None])


def stepped(target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator) -> tuple[Walkers, Kernel]:
    """Return walkers after some trajectories, and a kernel whose step size suits its coordinates and trajectories."""
    for _ in range(MOVES):
        walkers, kernel = _adapted(target, walkers, kernel, random, POSTERIOR)
    return walkers, kernel


def with_proposal(
    target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator, proposal: Approximation
) -> Kernel:
    """Return a kernel whose jumps are from a proposal; their number is such that few walkers accept none.

    A kernel stays as it is while draws are kept: they would not be those of the posterior otherwise.
    """
    tried = kernel._replace(proposal=proposal, jumps=TRIED)
    _walkers, accepted = jumped(target, walkers, tried, random)
    needed = np.log(STAYING) / np.log1p(-np.clip(accepted.mean(), 0.01, 0.99))
    return tried._replace(jumps=int(np.clip(np.ceil(needed), 1, MOST_JUMPS)))


def common_whitening(x: FloatArray) -> FloatArray:
    """Return the scale (1, size, size) in which walkers of all populations together are white."""
    return square_root(np.atleast_2d(np.cov(x.reshape(-1, x.shape[-1]), rowvar=False, bias=True)))[None]


def square_root(covariance: FloatArray) -> FloatArray:
    """Return matrices (..., size, size) whose product with their transpose is the covariance.

    Nearly flat directions are kept a thousandth as wide as the coordinates are, so that rounding does no harm.
    """
    unit = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))[..., :, None] + 1e-12
    values, vectors = np.linalg.eigh(covariance / (unit * np.swapaxes(unit, -1, -2)))
    return unit * vectors * np.sqrt(np.maximum(values, 1e-6))[..., None, :]


def moved(target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator) -> Walkers:
    """Return walkers after a trajectory and jumps."""
    walkers, _accepted = trajectory(target, walkers, kernel, random)
    walkers, _accepted = jumped(target, walkers, kernel, random)
    return walkers


def jumped(
    target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator
) -> tuple[Walkers, NDArray[np.bool_]]:
    """Propose draws of an approximation to each walker at the posterior, one after the other.

    Returns
    -------
    Walkers
        After the jumps.
    array (populations, jumps, walkers)
        Which jumps were accepted.

    References
    ----------
    Tierney, *Markov chains for exploring posterior distributions*, Annals of Statistics 22, 1994 (independence chains).
    """
    (populations, count), proposal = walkers.value.shape, kernel.proposal
    x = proposal.draw((populations, kernel.jumps * count), random)
    weight = (target.densities.values(x) - proposal.log_density(x)[0]).reshape(populations, kernel.jumps, count)
    threshold = np.log(random.uniform(size=weight.shape))
    current = walkers.value - proposal.log_density(walkers.x)[0]
    accepted = np.zeros(weight.shape, dtype=bool)
    for place in range(kernel.jumps):
        accepted[:, place] = threshold[:, place] < weight[:, place] - current
        current = np.where(accepted[:, place], weight[:, place], current)
    last = kernel.jumps - 1 - accepted[:, ::-1].argmax(axis=1)
    ends = x.reshape(populations, kernel.jumps, count, -1)[np.arange(populations)[:, None], last, np.arange(count)]
    return target.at(np.where(accepted.any(axis=1)[..., None], ends, walkers.x), POSTERIOR), accepted


def trajectory(
    target: Target, walkers: Walkers, kernel: Kernel, random: np.random.Generator, inverse: FloatArray = POSTERIOR
) -> tuple[Walkers, FloatArray]:
    """Simulate a trajectory of each walker, and accept its end or stay.

    Parameters
    ----------
    target
        The posterior and its approximation.
    walkers, kernel
        Where walkers are, and how they move.
    random
        Source of randomness.
    inverse
        (populations or 1, 1) Inverse temperatures.

    Returns
    -------
    Walkers
        After the trajectory.
    array (populations, walkers)
        Acceptance probabilities.
    """
    shape = walkers.value.shape
    step = kernel.step * random.uniform(*STEP_RANGE, size=(*shape, 1))
    start = momentum = random.standard_normal(walkers.x.shape)
    at, (before, slope) = walkers, walkers.at_temperature(inverse)
    after = before
    with np.errstate(over="ignore", invalid="ignore"):  # energies overflow outside the support of the density
        for _ in range(kernel.leapfrogs):
            momentum = momentum + step / 2 * (slope @ kernel.scale)
            at = target.at(at.x + (step * momentum) @ np.swapaxes(kernel.scale, -1, -2), inverse)
            after, slope = at.at_temperature(inverse)
            momentum = momentum + step / 2 * (slope @ kernel.scale)
        gain = after - before - 0.5 * ((momentum**2).sum(axis=-1) - (start**2).sum(axis=-1))
    probability = np.exp(np.minimum(np.nan_to_num(gain, nan=-np.inf), 0))
    accepted = random.uniform(size=shape) < probability
    ended = (
        np.where(accepted if new.ndim == accepted.ndim else accepted[..., None], new, old)
        for new, old in zip(at, walkers, strict=True)
    )
    return Walkers(*ended), probability
