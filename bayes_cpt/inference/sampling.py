"""Draws from the posterior of a block of parameters, until they have converged: ``SAMPLERS`` by name.

``tempered`` runs many chains at once (`bayes_cpt.inference.tempering`). It starts at the modes, adapts, and then runs
in rounds until the draws of a round have converged or a limit of time is reached. After each round, jumps and
coordinates are adapted to its draws, and moves become, in turn, twice as long and twice as many. Draws kept are of the
last round.
``nuts`` is the reference: nutpie's NUTS in coordinates that the mode's curvature makes white, with a fixed number of
draws.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from threading import Event
from typing import Any, NamedTuple

import numpy as np

from bayes_cpt._support.progress import Reporter, Status
from bayes_cpt._support.registry import Registry
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import SamplingError
from bayes_cpt.inference.approximation import CLOSE, INFLATION, Approximation, around, mixture
from bayes_cpt.inference.diagnostics import ESS_LIMIT, Convergence, convergence
from bayes_cpt.inference.mode import CANDIDATES, approximate, distinct, starts_from
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.inference.tempering import (
    FROM_MODES,
    FROM_POSTERIOR,
    Target,
    common_whitening,
    moved,
    stepped,
    tempered,
    with_proposal,
)
from bayes_cpt.posterior.density import Densities, Density

WALKERS = 32
"""Chains in each population."""
SHORTEST = 12
"""Smallest number of moves of a walker before draws are judged."""
SHORT = 4
"""Number of leapfrog steps of a trajectory in the first round: where jumps are accepted, they need little help."""
MOST_LEAPFROGS = 64
"""Largest number of leapfrog steps of a trajectory."""
REPORTS = 0.5
"""Seconds between two reports of progress."""
TARGET_ACCEPT = 0.95
"""Of NUTS; higher than usual: parameters trade off along curves that long steps would leave."""
OVERDISPERSION = 1.5
"""Standard deviation of the starts of NUTS around the mode, in posterior standard deviations."""


class Block(NamedTuple):
    """A block of parameters to sample.

    Parameters
    ----------
    density
        Its log density.
    watched
        From draws (chain, draw, size) to quantities (chain, draw, n) whose draws must converge.
    start
        An approximation from which to start; None to seek the modes.
    """

    density: Density
    watched: Callable[[FloatArray], FloatArray]
    start: Approximation | None = None


class Drawn(NamedTuple):
    """Draws of a block.

    Parameters
    ----------
    x
        (chain, draw, size) Unconstrained vectors.
    log_density
        (chain, draw).
    diverging
        (chain, draw) Whether a step of NUTS diverged.
    modes
        Shares of the draws that are nearest to each mode from which the sampler started.
    convergence
        Diagnostics of the watched quantities.
    evaluations
        Number of vectors of which the log density was evaluated, mostly with its gradient.
    """

    x: FloatArray
    log_density: FloatArray
    diverging: np.ndarray
    modes: FloatArray
    convergence: Convergence
    evaluations: int


type Sampler = Callable[[Block, SamplerSettings, Callable[[str], None]], Drawn]
"""From a block, settings, and a function that reports how far it is and raises if it must stop."""


def sample_blocks(blocks: Sequence[Block], settings: SamplerSettings, report: Reporter) -> list[Drawn]:
    """Sample blocks side by side.

    Parameters
    ----------
    blocks
        The blocks.
    settings
        Settings of the sampler.
    report
        Where progress is reported.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted; nothing is returned.
    DataError
        If no start has a finite density.
    SamplingError
        If a sampler stopped before it had all draws, or gave draws that are not finite.
    """
    sampler, stopped = SAMPLERS[settings.sampler], Event()
    notes = [""] * len(blocks)
    began = time.monotonic()

    def progress(place: int) -> Callable[[str], None]:
        def told(note: str) -> None:
            if stopped.is_set():
                raise KeyboardInterrupt
            notes[place] = note
            report(
                Status("fit", min((time.monotonic() - began) / settings.seconds, 1.0), "; ".join(filter(None, notes)))
            )

        return told

    with ThreadPoolExecutor(cpu_count() or 1) as pool:
        try:
            running = [pool.submit(sampler, block, settings, progress(place)) for place, block in enumerate(blocks)]
            drawn = [each.result() for each in running]
        except BaseException:
            stopped.set()
            raise
    if not all(np.isfinite(each.x).all() for each in drawn):
        raise SamplingError("the sampler gave draws that are not finite: check the losses and the priors")
    return drawn


def tempered_draws(block: Block, settings: SamplerSettings, progress: Callable[[str], None]) -> Drawn:
    """Sample by many chains at once, until the watched quantities have converged or the time is over."""
    began, random, density = time.monotonic(), np.random.default_rng(settings.seed), Counted(block.density)
    start = block.start or modes(density, block.density, random)
    target, shape = Target(density, start), (settings.chains, WALKERS)
    walkers, kernel, states = tempered(
        target,
        shape,
        random,
        common_whitening,
        done=lambda at: progress(f"adapting {at:.2f}"),
        effort=FROM_POSTERIOR if block.start else FROM_MODES,
    )
    kernel = with_proposal(target, walkers, kernel, random, around(states, 1.0, CLOSE))._replace(leapfrogs=SHORT)
    needed = -(-settings.draws // WALKERS)
    length, note, longer = max(needed, SHORTEST), "sampling", False

    def is_over() -> bool:
        return time.monotonic() - began > settings.seconds

    while True:
        states = []
        while len(states) < length and not (states and is_over()):
            progress(note)
            walkers = moved(target, walkers, kernel, random)
            states.append((walkers.x, walkers.value))
        chosen = [states[place] for place in np.linspace(0, len(states) - 1, needed).astype(int)]
        x, log_density = (_by_chain(np.stack(of, axis=2), settings.draws) for of in zip(*chosen, strict=True))
        found = convergence(block.watched(x))
        if enough(found, settings) or is_over():
            break
        note, longer = str(found), not longer
        if longer and kernel.leapfrogs < MOST_LEAPFROGS:
            kernel = kernel._replace(leapfrogs=2 * kernel.leapfrogs)
        else:
            length *= 2
        kernel = with_proposal(target, walkers, kernel, random, mixture(x, random))._replace(scale=common_whitening(x))
        walkers, kernel = stepped(target, walkers, kernel, random)
    return Drawn(
        x=x,
        log_density=log_density,
        diverging=np.zeros(x.shape[:2], dtype=bool),
        modes=target.approximation.nearest(x),
        convergence=found,
        evaluations=density.vectors,
    )


class Counted:
    """A density that counts the vectors it evaluated."""

    def __init__(self, density: Density) -> None:
        self.density, self.vectors = density, 0

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities of vectors (..., size), and their gradients."""
        self.vectors += x.size // x.shape[-1]
        return self.density.at(x)

    def values(self, x: FloatArray) -> FloatArray:
        """Return the log densities of vectors (..., size)."""
        self.vectors += x.size // x.shape[-1]
        return self.density.values(x)


def modes(densities: Densities, density: Density, random: np.random.Generator) -> Approximation:
    """Return the approximation at the modes that are found from the prior."""
    return distinct(approximate(densities, starts_from(densities, density.prior_draws(CANDIDATES, random)[None])))


def enough(found: Convergence, settings: SamplerSettings) -> bool:
    """Return whether to stop: draws have converged, or are too few for it and mix as well as they can."""
    if settings.chains * settings.draws >= 2 * ESS_LIMIT:
        return found.converged
    return bool(min(found.bulk.min(), found.tail.min()) >= settings.chains * settings.draws / 4)


def _by_chain(states: FloatArray, draws: int) -> FloatArray:
    """Return (populations, draws, ...) from (populations, walkers, states, ...), one walker after the other."""
    return states.reshape(len(states), -1, *states.shape[3:])[:, :draws]


def nuts_draws(block: Block, settings: SamplerSettings, progress: Callable[[str], None]) -> Drawn:
    """Sample by NUTS."""
    import nutpie  # noqa: PLC0415 - it takes a second to import, and is needed for the reference alone
    from nutpie.compiled_pyfunc import from_pyfunc  # noqa: PLC0415

    density, random = block.density, np.random.default_rng(settings.seed)
    start = block.start or modes(density, density, random)
    centre, scale, size = start.centre[0, 0], start.scale[0, 0] / INFLATION, density.size

    def make_logp() -> Callable[..., tuple[float, FloatArray]]:
        def logp(z: FloatArray) -> tuple[float, FloatArray]:
            value, gradient = density.alone(centre + scale @ z)
            return value, scale.T @ gradient

        return logp

    def make_expand(*_seeds: int) -> Callable[..., dict[str, FloatArray]]:
        return lambda z: {"z": np.asarray(z)}

    compiled = from_pyfunc(
        ndim=size,
        make_logp_fn=make_logp,
        make_expand_fn=make_expand,
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(size,)],
        expanded_names=["z"],
        make_initial_point_fn=lambda seed: OVERDISPERSION * np.random.default_rng(seed).standard_normal(size),
    )
    running = nutpie.sample(
        compiled,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=settings.seed,
        adaptation="low_rank",
        target_accept=TARGET_ACCEPT,
        save_warmup=False,
        progress_bar=False,
        blocking=False,
    )
    try:
        trace = _waited(running, progress)
    except BaseException:
        running.cancel()
        raise
    z, stats = trace["posterior"]["z"].to_numpy(), trace["sample_stats"]
    if z.shape[:2] != (settings.chains, settings.draws):
        raise SamplingError(f"the sampler stopped after {z.shape[1]} of {settings.draws} draws: run it again")
    x = centre + z @ scale.T
    return Drawn(
        x=x,
        log_density=stats["logp"].to_numpy(),
        diverging=stats["diverging"].to_numpy(),
        modes=np.ones(1),
        convergence=convergence(block.watched(x)),
        evaluations=int(stats["n_steps"].to_numpy().sum()),
    )


def _waited(running: Any, progress: Callable[[str], None]) -> Any:
    """Return the trace of a sampler in the background; meanwhile, report and look whether to stop."""
    while True:
        progress("NUTS")
        try:
            return running.wait(timeout=REPORTS)
        except TimeoutError:
            continue


SAMPLERS: Registry[Sampler] = Registry("sampler", {"tempered": tempered_draws, "nuts": nuts_draws})
"""Samplers by the names of `bayes_cpt.inference.settings.SAMPLER_NAMES`."""
