"""Memory kernels: how a drop of the learning rate (LR) takes effect in the annealing term, and ``MEMORY_KERNELS``.

The annealing area is a sum over all changes of the LR: the drop times a kernel that grows from 0 to the memory (in
steps). In relaxation, the loss follows the LR itself with a delay (`height_rows`). The shape of the kernel has sampled
parameters. The area is therefore stored as rows, computed once from the exact LR of every step. The area is a weighted
sum of the rows, and only the weights depend on the parameters.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from bayes_cpt._support.interpolation import cubic_weights, grid_weights
from bayes_cpt._support.registry import Registry
from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.errors import SpecError
from bayes_cpt.laws.areas import TINY, annealing_area, faded, forward_area
from bayes_cpt.runs.lineage import Phase

MEMORIES: FloatArray = np.geomspace(1, 200_000, 48)
"""Grid of the annealing's memory in steps. Interpolation on it is accurate to about 1e-4 of the annealing term."""
RATE_WEIGHTS: FloatArray = np.linspace(-0.2, 0.6, 5)
"""Grid of Eq. 9's exponent of the LR."""
DECAY_RATES: FloatArray = np.geomspace(5e-7, 3, 36)
"""Grid of rates, per step at the peak LR, of which a power-law kernel is a mixture."""
SLOWER_RATES: FloatArray = DECAY_RATES[0] * (DECAY_RATES[1] / DECAY_RATES[0]) ** np.arange(-62.0, 0.0)
"""The same grid extended to rates at which no drop takes effect: they count in the mixture, and have no rows."""
RATE_POWERS: FloatArray = np.linspace(-0.25, 1.75, 9)
"""Grid of the multi-power law's exponent of the LR after the drop."""
BLOCKS = 80
"""Largest number of drops of an LR, after neighbouring ones are joined: each is about a hundredth of the peak."""
SMALLEST_SHARE = 1e-3
"""Share of the peak: in powers of the LR, a smaller LR counts as this."""

LEVEL_POWERS: FloatArray = np.linspace(0.0, 1.25, 6)
"""Grid of q, the power of the LR in the level; values in use are from .25 to 1."""
RESPONSE_POWERS: FloatArray = np.linspace(-0.5, 2.0, 6)
"""Grid of r, the power of the LR in the rate; values in use are from 0 to 1.5."""
SPARSE_MEMORIES: FloatArray = np.geomspace(1, 400_000, 24)
"""Grid of the memory, in steps at the peak."""
PIECES = 160
"""Number of pieces between which the level is taken as straight: each changes it by less than a hundredth."""
FASTEST = 1e-3
"""Smallest share of the peak in the rate: a smaller LR responds as fast as this."""

_GRID = (LEVEL_POWERS.size, RESPONSE_POWERS.size, SPARSE_MEMORIES.size)


@dataclass(frozen=True)
class MemoryKernel:
    """How drops of the LR take effect.

    Parameters
    ----------
    parameters
        Names of the sampled parameters of its shape, among them ``memory``, in steps; empty for laws without an LR.
    rows
        From a phase, positions in it (steps done) and the peak LR to (rows, points): shares of full annealing from the
        peak, dimensionless.
    weights
        From the parameters by name (each ...) to (..., rows). Written with operators and NumPy ufuncs, so that it
        runs on NumPy and PyTensor.
    warmup_rows
        The same as ``rows`` for the rises of the PT warm-up; None if they do not count.
    continued
        What `rows_of_cpt` returns, from its arguments; None if it follows from ``rows`` of the phase's drops.

    Raises
    ------
    SpecError
        If it has parameters, but not ``memory``.

    References
    ----------
    Tissue et al. 2024, arXiv 2408.11029, Eq. 1 (``exponential``); Wang et al., ICML 2025, arXiv 2505.07796, Eq. 9
    (``rate-weighted``); Luo et al., ICLR 2025, arXiv 2503.12811 (``multi-power``).

    Examples
    --------
    Shares of full annealing halfway through a linear decay and at its end, with a memory of 100 steps:

    >>> import numpy as np
    >>> import bayes_cpt as bc
    >>> from bayes_cpt.runs.lineage import Segment, phases_of
    >>> decay = Segment("pt", bc.learning_rates(bc.linear(peak=1e-3, steps=1000)))
    >>> kernel = bc.MEMORY_KERNELS["exponential"]
    >>> rows = kernel.rows(phases_of([decay])[0], np.array([500, 1000]), 1e-3)
    >>> (kernel.weights(memory=np.array(100.0)) @ rows).round(2).tolist()
    [0.4, 0.9]
    """

    parameters: tuple[str, ...]
    rows: Callable[[Phase, IntArray, float], FloatArray]
    weights: Callable[..., Array]
    warmup_rows: Callable[[Phase, IntArray, float], FloatArray] | None = None
    continued: Callable[..., tuple[FloatArray, FloatArray]] | None = None

    def __post_init__(self) -> None:
        if self.parameters and "memory" not in self.parameters:
            raise SpecError(
                "a memory kernel needs the parameter 'memory', in steps, by which areas are scaled; it has only "
                f"{', '.join(self.parameters)}"
            )

    def rows_of_cpt(
        self, pretraining: Phase, phase: Phase, position: IntArray, peak: float, *, jump_is_known: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return the rows of continual pre-training (CPT), and of a jump of the largest LR at the transfer point.

        If the pre-training is not known, the first are those of a jump from an LR of 0; else the others are 0.
        """
        if self.continued is not None:
            return self.continued(pretraining, phase, position, peak, jump_is_known=jump_is_known)
        if jump_is_known or not phase.drop.size:
            rows = self.rows(phase, position, peak)
            return rows, np.zeros_like(rows)
        jump = np.zeros_like(phase.drop)
        jump[0] = 1.0
        without = phase._replace(drop=phase.drop - phase.learning_rate[0] * jump)
        return self.rows(without, position, peak), self.rows(phase._replace(drop=peak * jump), position, peak)


def kernel_probe(kernel: MemoryKernel, parameters: Mapping[str, float]) -> list[FloatArray]:
    """Return annealing areas of a short phase with warm-up and decay: numbers that change with the kernel."""
    rates = np.concatenate([np.linspace(0.1, 1, 5), np.linspace(1, 0.05, 55)])
    drop = np.where(np.arange(rates.size) < 5, 0.0, -np.diff(rates, prepend=0.0))
    phase = Phase(rates, np.ones(rates.size), drop, warmup=5)
    weights = kernel.weights(**{name: np.asarray(parameters[name]) for name in kernel.parameters})
    makers = [rows for rows in (kernel.rows, kernel.warmup_rows) if rows is not None]
    return [np.ravel(weights @ rows(phase, np.array([8, 30, 60]), 1.0)) for rows in makers]


def exponential_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return the rows of Eq. 1: S2 over memory x peak, at each of ``MEMORIES``."""
    return (annealing_area(phase, position, MEMORIES) / (MEMORIES * peak)).T


def memory_weights(memory: Array) -> Array:
    """Return the weights (..., memories) that interpolate on ``MEMORIES``, in log memory."""
    return _log_weights(memory, MEMORIES)


def _log_weights(value: Array, grid: FloatArray) -> Array:
    return cubic_weights(np.log(value / grid[0]) / np.log(grid[1] / grid[0]), grid.size)


def weighted_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return the rows of Eq. 9, by rate weight and memory: `exponential_rows` with m_i (LR_i / peak)^rate_weight."""
    until = int(position.max(initial=0))
    drop, share = phase.drop[:until], np.maximum(phase.learning_rate[:until] / peak, SMALLEST_SHARE)
    rows = np.empty((RATE_WEIGHTS.size, MEMORIES.size, position.size))
    for column, memory in enumerate(MEMORIES):
        # `faded` includes the factor of a step with the tokens of several steps, so the sum is S2 at weight 0
        momentum = faded(drop + TINY, phase.tokens, memory) / memory
        for row, weight in enumerate(RATE_WEIGHTS):
            rows[row, column] = np.concatenate([[0.0], np.cumsum(momentum * share**weight)])[position] / peak
    return rows.reshape(-1, position.size)


def weighted_weights(memory: Array, rate_weight: Array) -> Array:
    """Return the weights (..., rate weights x memories) of `weighted_rows`."""
    return _outer(grid_weights(rate_weight, RATE_WEIGHTS), memory_weights(memory))


def multi_power_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return the sum of drops x (1 - e^(-rate z)), by rate and exponent.

    z is the forward area since the drop over peak, times (LR / peak)^-rate_power.

    A power-law kernel is a mixture of such exponentials over the rate (`multi_power_weights`). LR is that after the
    drop, as in the multi-power law (Luo et al., ICLR 2025, arXiv 2503.12811): at a low LR a drop takes effect faster,
    counted by forward area.
    """
    return _sum_over_drops(phase, position, peak, lambda reached: -np.expm1(-reached))


def multi_power_warmup_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return rows like `multi_power_rows` for the rises of the PT warm-up: the part of their effect still to come.

    The multi-power law counts rises as negative drops. Their full effect is a constant, which L0 absorbs.
    """
    rises = np.where(np.arange(phase.drop.size) < phase.warmup, np.diff(phase.learning_rate, prepend=0.0), 0.0)
    return _sum_over_drops(phase._replace(drop=rises), position, peak, lambda reached: np.exp(-reached))


def _sum_over_drops(
    phase: Phase, position: IntArray, peak: float, effect: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    drop, before, share = _blocks(phase, peak)
    since = np.maximum(forward_area(phase)[position] - before[:, None], 0.0) / peak
    rows = np.empty((RATE_POWERS.size, DECAY_RATES.size, position.size))
    for row, power in enumerate(RATE_POWERS):
        reached = share[:, None] ** -power * since
        for column, rate in enumerate(DECAY_RATES):
            rows[row, column] = drop @ effect(rate * reached) / peak
    return rows.reshape(-1, position.size)


def multi_power_weights(memory: Array, rate_power: Array, tail: Array) -> Array:
    """Return the weights of `multi_power_rows` for the kernel 1 - (1 + tail z / memory)^(-1 / tail).

    That is the mixture of 1 - e^(-s z / memory) over s ~ Gamma(1 / tail, mean 1), here by the trapezoidal rule in log
    s. As ``tail`` goes to 0 the kernel becomes exponential; below .05 the grid is too coarse for it.
    """
    shape = 1 / tail[..., None]
    log_rate = np.log(np.concatenate([SLOWER_RATES, DECAY_RATES])) + np.log(memory)[..., None]
    density = np.exp(shape * (log_rate - np.exp(log_rate) + 1))
    mixture = density[..., SLOWER_RATES.size :] / density.sum(axis=-1)[..., None]
    return _outer(grid_weights(rate_power, RATE_POWERS), mixture)


def _blocks(phase: Phase, peak: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Join neighbouring drops: their sums, mean forward area before them, and mean share of the peak LR."""
    at = np.flatnonzero(phase.drop)
    size = np.abs(phase.drop[at])
    middle = np.floor((np.cumsum(size) - size / 2) / max(size.sum() / BLOCKS, peak / BLOCKS))
    _, block = np.unique(2 * middle + (phase.drop[at] > 0), return_inverse=True)
    count = int(block.max(initial=-1)) + 1

    def mean(values: FloatArray) -> FloatArray:
        return np.bincount(block, size * values, count) / np.bincount(block, size, count)

    return (
        np.bincount(block, phase.drop[at], count),
        mean(forward_area(phase)[at]),
        np.maximum(mean(phase.learning_rate[at] / peak), SMALLEST_SHARE),
    )


def height_rows(
    phase: Phase, position: IntArray, peak: float, start: FloatArray | float = 0.0, before: float = 0.0
) -> FloatArray:
    """Return the height h of the loss above its floor at positions (steps done) of a phase, (rows, points).

    At a constant LR the loss settles at a height above what annealing to 0 would reach, in proportion to (LR / peak)^q.
    The height relaxes towards that level at a rate that depends on the LR too, q is the level power and r the response
    power:

        dh / dt = (LR / peak)^r ((LR / peak)^q - h) / memory,   h = 0 at the start of training.

    One h goes through the whole lineage: warm-up, decays, the jump at the transfer point and the re-warm-up. With q = 1
    and r = 0, its changes are those of Eq. 1's annealing area over memory x peak (Tissue et al. 2024, arXiv
    2408.11029). With q < 1 the last part of a decay wins more than the first; with r = 1 the response goes by forward
    area rather than by steps.

    Parameters
    ----------
    phase
        The LR of its steps.
    position
        Steps done, (points,).
    peak
        The LR by which others are scaled.
    start
        Height before the first step, (rows,) or one for all.
    before
        The LR before the first step.
    """
    share = np.append(before, phase.learning_rate) / peak
    nodes = _nodes(share, position)
    level = share[nodes, None] ** LEVEL_POWERS
    pace = np.maximum(share[1:, None], FASTEST) ** RESPONSE_POWERS * phase.tokens[:, None]
    clock = np.concatenate([np.zeros((1, RESPONSE_POWERS.size)), np.cumsum(pace, axis=0)])[nodes]
    height = np.broadcast_to(start, math.prod(_GRID)).reshape(_GRID)
    heights = np.empty((nodes.size, *_GRID))
    heights[0] = height
    for place in range(1, nodes.size):
        elapsed = (clock[place] - clock[place - 1])[None, :, None] / SPARSE_MEMORIES
        first, last = level[place - 1][:, None, None], level[place][:, None, None]
        # the level is straight in time between two nodes, and the height has a closed form
        left = np.exp(-elapsed)
        lag = (last - first) * -np.expm1(-elapsed) / np.maximum(elapsed, 1e-300)
        height = last - lag + (height - first) * left
        heights[place] = height
    return heights[np.searchsorted(nodes, position)].reshape(position.size, -1).T


def _nodes(share: FloatArray, position: IntArray) -> IntArray:
    """Return the steps, from 0 to the last position, between which the level is taken as straight."""
    until = int(position.max(initial=0))
    share = share[: until + 1]
    change = np.abs(np.diff(share)) + np.abs(np.diff(share ** LEVEL_POWERS[1]))
    passed = np.concatenate([[0.0], np.cumsum(change)])
    edges = np.searchsorted(passed, np.linspace(0, passed[-1], PIECES))
    return np.unique(np.concatenate([[0, until], position, edges.clip(max=until), np.maximum(edges - 1, 0)]))


def relaxing_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return the share of a full annealing that pre-training (PT) has won, 1 - h."""
    return 1 - height_rows(phase, position, peak)


def relaxing_rows_of_cpt(
    pretraining: Phase, continued: Phase, position: IntArray, peak: float, *, jump_is_known: bool
) -> tuple[FloatArray, FloatArray]:
    """Return what continual pre-training (CPT) wins since the transfer point, and that part of a height of 1 there.

    If the pre-training is not known, the first is that of a height of 0 at the transfer point.
    """
    if jump_is_known:
        steps = pretraining.learning_rate.size
        last = pretraining.learning_rate[-1] if steps else 0.0
        start = height_rows(pretraining, np.array([steps]), peak)[:, 0]
        height = height_rows(continued, position, peak, start, last)
        return start[:, None] - height, np.zeros_like(height)
    first = continued.learning_rate[0] if continued.learning_rate.size else 0.0
    alone = height_rows(continued, position, peak, 0.0, first)
    return -alone, 1 + alone - height_rows(continued, position, peak, 1.0, first)


def relaxing_weights(memory: Array, level_power: Array, response_power: Array) -> Array:
    """Return the weights (..., rows) that interpolate on the grid of the three parameters."""
    of_memory = _log_weights(memory, SPARSE_MEMORIES)
    of_level = grid_weights(level_power, LEVEL_POWERS)
    of_response = grid_weights(response_power, RESPONSE_POWERS)
    product = of_level[..., :, None, None] * of_response[..., None, :, None] * of_memory[..., None, None, :]
    return product.reshape((*product.shape[:-3], -1))


def _outer(first: Array, second: Array) -> Array:
    """Return the products (..., n x m) of weights (..., n) and (..., m)."""
    product = first[..., :, None] * second[..., None, :]
    return product.reshape((*product.shape[:-2], -1))


NONE = MemoryKernel((), lambda _phase, position, _peak: np.zeros((1, position.size)), lambda: np.ones(1))
"""For laws that do not read the LR."""
EXPONENTIAL = MemoryKernel(("memory",), exponential_rows, memory_weights)
RATE_WEIGHTED = MemoryKernel(("memory", "rate_weight"), weighted_rows, weighted_weights)
MULTI_POWER = MemoryKernel(
    ("memory", "rate_power", "tail"), multi_power_rows, multi_power_weights, multi_power_warmup_rows
)
RELAXING = MemoryKernel(
    ("memory", "level_power", "response_power"), relaxing_rows, relaxing_weights, continued=relaxing_rows_of_cpt
)

MEMORY_KERNELS: Registry[MemoryKernel] = Registry(
    "memory kernel",
    {
        "none": NONE,
        "exponential": EXPONENTIAL,
        "rate-weighted": RATE_WEIGHTED,
        "multi-power": MULTI_POWER,
        "relaxing": RELAXING,
    },
)
"""Memory kernels by name."""
