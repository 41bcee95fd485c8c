"""Forward and annealing areas of learning-rate (LR) schedules, along the lineage of a run, and forward progress.

Sources: Eq. 1 (Tissue et al. 2024, arXiv 2408.11029) and Eq. 2 (Wang et al., ICML 2025, arXiv 2505.07796).

Forward progress is the forward area with the LR raised to a power; it drives the base. The paper's law has the power 1.
On public pre-training curves and on the shipped ones, steps at a low LR lower the base by more than this:
docs/lab-log/discrepancy.md has the evidence. The power is sampled, so progress is stored as rows over a grid of powers,
like the annealing areas (`bayes_cpt.laws.memory_kernels`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.signal import lfilter

from bayes_cpt._support.interpolation import grid_weights
from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.errors import DataError
from bayes_cpt.runs.lineage import Phase, Segment, phases_of, steps_done

TINY = 1e-200
FORWARD_POWERS: FloatArray = np.linspace(0, 1.5, 13)
"""Grid of the power of the LR in progress; interpolation on it is accurate to about a thousandth of the progress."""


class Areas(NamedTuple):
    """Areas by phase (LR x steps) and the LR at the given points."""

    forward_pt: FloatArray
    """(points,) Sum of the LRs of pre-training (PT)."""
    forward_cpt: FloatArray
    """(points,) Sum of the LRs of continual pre-training (CPT)."""
    annealing_pt: FloatArray
    """(points, memories)"""
    annealing_cpt: FloatArray
    """(points, memories)"""
    learning_rate: FloatArray
    """(points,) The LR of the step; at step 0 the parent's last LR, or the first LR of a run from scratch."""


def areas(lineage: Sequence[Segment], steps: ArrayLike, memory: ArrayLike) -> Areas:
    """Forward and annealing areas of the last run of a lineage.

    Parameters
    ----------
    lineage
        The run and its ancestors, oldest first, each ancestor up to the step where the next one branches off.
    steps
        Steps of the last segment, integers; 0 is its start, the state at the branch.
    memory
        Memory of the annealing in steps, at least 1: lambda = 1 - 1/memory, so 1,000 is the paper's 0.999 and 1 has
        no momentum.

    Returns
    -------
    Areas
        In CPT the PT areas are those of the transfer point.

    Raises
    ------
    DataError
        If the lineage is empty, has PT after CPT or an LR that is negative or not finite, a step lies outside the
        last segment, or a memory is below 1.

    Notes
    -----
    The annealing area S2_t = sum_{i<=t} m_i with m_t = lambda m_{t-1} + (eta_{t-1} - eta_t) starts at 0 in CPT.
    The first change that counts is, in PT, the one after the warm-up (the initial steps with strictly rising LRs; a
    later re-warm-up counts, negatively); in CPT, the jump from the last LR of PT to the first of CPT.
    Without PT in the lineage (an unknown checkpoint) that jump is unknown and set to 0: see `jump_area`.
    """
    pretraining, continued = phases_of(lineage)
    points, memories = _checked_points(steps, lineage[-1].learning_rate.size), _checked_memory(memory)
    at_pt, at_cpt = steps_done(lineage, points)
    every = np.concatenate([pretraining.learning_rate, continued.learning_rate])
    return Areas(
        forward_pt=forward_area(pretraining)[at_pt],
        forward_cpt=forward_area(continued)[at_cpt],
        annealing_pt=annealing_area(pretraining, at_pt, memories),
        annealing_cpt=annealing_area(continued, at_cpt, memories),
        learning_rate=every[np.maximum(at_pt + at_cpt - 1, 0)],
    )


def forward_area(phase: Phase) -> FloatArray:
    """Forward area of a phase after 0, 1, ... steps."""
    return np.concatenate([[0.0], np.cumsum(phase.learning_rate * phase.tokens)])


def progress_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Return the sum of peak x (LR / peak)^power x tokens over the steps done, (powers, points); power 1 gives S1."""
    share = phase.learning_rate / peak
    return np.array(
        [
            # a step at an LR of 0 adds nothing, whatever the power
            forward_area(phase._replace(learning_rate=peak * np.where(share > 0, share**power, 0.0)))[position]
            for power in FORWARD_POWERS
        ]
    )


def progress_weights(forward_power: Array) -> Array:
    """Return the weights (..., powers) that interpolate on ``FORWARD_POWERS``."""
    return grid_weights(forward_power, FORWARD_POWERS)


def jump_area(steps: ArrayLike, memory: ArrayLike) -> FloatArray:
    """CPT annealing area of a unit LR drop between the transfer point and the first CPT step.

    The annealing area is linear in that drop. So, if the last LR of PT is unknown, the area is that of `areas` without
    PT, plus this area times (last LR of PT - first LR of CPT).

    Parameters
    ----------
    steps
        CPT steps since the transfer point, at least 0.
    memory
        See `areas`.

    Returns
    -------
    array (points, memories)
        memory x (1 - lambda^steps), in steps.

    Raises
    ------
    DataError
        If a step is negative or not an integer, or a memory is below 1.
    """
    points, memories = _checked_points(steps), _checked_memory(memory)
    return memories * (1 - np.power(1 - 1 / memories, points[:, None]))


def annealing_area(phase: Phase, position: IntArray, memories: FloatArray) -> FloatArray:
    """Annealing area of a phase at positions (steps done), (points, memories).

    The sum of m_t over time has the recursion S2_t = lambda S2_{t-1} + fall_t, where fall_t is the sum of the drops up
    to t. There is one recursion per memory, and only the given positions are kept. A step with the tokens of b
    reference steps counts as b steps: lambda^b instead of lambda, and the sum of b inflows.
    """
    # TINY keeps a fading area out of the subnormal numbers, which are ten times slower; its remainder is set to 0
    fall = np.cumsum(phase.drop[: position.max(initial=0)]) + TINY
    area = np.empty((position.size, memories.size))
    for column, memory in enumerate(memories):
        area[:, column] = np.concatenate([[0.0], faded(fall, phase.tokens, memory)])[position]
    return np.where(np.abs(area) < np.sqrt(TINY) * memories, 0.0, area)


def faded(inflow: FloatArray, tokens: FloatArray, memory: float) -> FloatArray:
    """Accumulate an inflow that decays over a memory, (steps,): the recursion of `annealing_area`."""
    inflow_until = np.flatnonzero(np.diff(tokens[: inflow.size])) + 1
    pieces, last = [], 0.0
    for part, size in zip(np.split(inflow, inflow_until), np.split(tokens[: inflow.size], inflow_until), strict=True):
        if part.size:
            kept = (1 - 1 / memory) ** size[0]
            values, _state = lfilter([(1 - kept) * memory], [1.0, -kept], part, zi=[kept * last])
            pieces.append(values)
            last = float(values[-1])
    return np.concatenate(pieces) if pieces else np.empty(0)


def _checked_points(steps: ArrayLike, last: float = np.inf) -> IntArray:
    points = np.atleast_1d(steps)
    if points.size and not np.issubdtype(points.dtype, np.integer):
        raise DataError(f"Steps must be integers, not {points.dtype} values.")
    outside = points[(points < 0) | (points > last)]
    if outside.size:
        raise DataError(f"Step {outside[0]} is outside the run, whose steps go from 0 to {last}.")
    return points.astype(np.int64)


def _checked_memory(memory: ArrayLike) -> FloatArray:
    memories = np.atleast_1d(np.asarray(memory, dtype=np.float64))
    if not np.all((memories >= 1) & np.isfinite(memories)):
        raise DataError(f"The memory of the annealing must be finite and at least 1 step, not {memory}.")
    return memories
