"""Forward and annealing areas of learning-rate (LR) schedules, along the lineage of a run.

Sources: Eq. 1 (Tissue et al. 2024, arXiv 2408.11029) and Eq. 2 (Wang et al., ICML 2025, arXiv 2505.07796).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import lfilter

from bayes_cpt.errors import DataError

type FloatArray = NDArray[np.float64]
type IntArray = NDArray[np.int64]

TINY = 1e-200


class Segment(NamedTuple):
    """One run's part of a lineage: its phase, and the LR used at each of its steps, shape (n,)."""

    phase: Literal["pt", "cpt"]
    learning_rate: FloatArray


class Areas(NamedTuple):
    """Areas by phase (LR x steps) and the LR at the asked points."""

    forward_pt: FloatArray
    """(points,) Sum of the LRs of pre-training (PT)."""
    forward_cpt: FloatArray
    """(points,) Sum of the LRs of continual pre-training (CPT)."""
    annealing_pt: FloatArray
    """(points, memories)"""
    annealing_cpt: FloatArray
    """(points, memories)"""
    learning_rate: FloatArray
    """(points,) The LR used at the step; at step 0, the last of the parent, or the first of a run from scratch."""


def areas(lineage: Sequence[Segment], steps: ArrayLike, memory: ArrayLike) -> Areas:
    """Forward and annealing areas of the last run of a lineage.

    Parameters
    ----------
    lineage
        The run and its ancestors, oldest first, each ancestor cut where the next one branches off.
    steps
        Steps of the last segment, integers; 0 is its start, the state at the branch.
    memory
        Memory of the annealing in steps, at least 1: lambda = 1 - 1/memory, so 1,000 is the paper's 0.999 and 1 has
        no momentum.

    Returns
    -------
    Areas
        In CPT the PT areas stay as they were at the transfer point.

    Raises
    ------
    DataError
        If the lineage is empty, has PT after CPT or an LR that is negative or not finite, a step lies outside the
        last segment, or a memory is below 1.

    Notes
    -----
    The annealing area S2_t = sum_{i<=t} m_i with m_t = lambda m_{t-1} + (eta_{t-1} - eta_t) starts anew with CPT.
    Which change comes first: in PT, the one after the warm-up (the initial stretch of strictly rising LRs, which is
    not annealing; a later re-warm-up is, negatively); in CPT, the jump from the last LR of PT to the first of CPT.
    Without PT in the lineage (an unknown checkpoint) that jump is unknown and taken as 0: see `jump_response`.
    """
    phases = _checked_phases(lineage)
    points, memories = _checked_points(steps, lineage[-1].learning_rate.size), _checked_memory(memory)
    pretraining, continued = phases["pt"], phases["cpt"]
    every = np.concatenate([pretraining, continued])
    if not every.size:
        raise DataError("The lineage has no steps, so no learning rate.")
    position = points + (every.size - lineage[-1].learning_rate.size)
    at_pt = np.minimum(position, pretraining.size)
    at_cpt = position - at_pt
    transfer_rate = pretraining[-1] if pretraining.size else every[0]
    return Areas(
        forward_pt=_summed(pretraining, at_pt),
        forward_cpt=_summed(continued, at_cpt),
        annealing_pt=_annealing_area(_drop_after_warmup(pretraining), at_pt, memories),
        annealing_cpt=_annealing_area(transfer_rate - continued, at_cpt, memories),
        learning_rate=every[np.maximum(position - 1, 0)],
    )


def jump_response(steps: ArrayLike, memory: ArrayLike) -> FloatArray:
    """CPT annealing area of a unit LR drop between the transfer point and the first CPT step.

    The annealing area is linear in that drop. So, if the last LR of PT is unknown, the area is that of `areas` without
    PT, plus this times (last LR of PT - first LR of CPT).

    Parameters
    ----------
    steps
        CPT steps since the transfer point, at least 0.
    memory
        As in `areas`.

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


def _annealing_area(drop: FloatArray, position: IntArray, memories: FloatArray) -> FloatArray:
    """Annealing area at positions of a phase, (points, memories), from the LR drop since the phase's reference LR.

    Summing m_t over time undoes the difference in it: S2_t = lambda S2_{t-1} + drop_t, where drop_t is the sum of the
    changes up to t. That is one recursion a memory, of which only the asked positions are kept.
    """
    # TINY keeps a fading area out of the subnormal numbers, which are ten times slower; what it leaves is cut to 0
    recursion_input = np.concatenate([[0.0], drop[: position.max(initial=0)]]) + TINY
    area = np.empty((position.size, memories.size))
    for column, memory in enumerate(memories):
        area[:, column] = np.asarray(lfilter([1.0], [1.0, 1 / memory - 1], recursion_input))[position]
    return np.where(np.abs(area) < np.sqrt(TINY), 0.0, area)


def _drop_after_warmup(learning_rate: FloatArray) -> FloatArray:
    """Drop of the LR since the end of the warm-up; 0 during it."""
    if not learning_rate.size:
        return learning_rate
    end = np.argmin(np.append(np.diff(learning_rate) > 0, False))
    drop = learning_rate[end] - learning_rate
    drop[:end] = 0.0
    return drop


def _summed(learning_rate: FloatArray, position: IntArray) -> FloatArray:
    return np.concatenate([[0.0], np.cumsum(learning_rate)])[position]


def _checked_phases(lineage: Sequence[Segment]) -> dict[str, FloatArray]:
    """Concatenate the LRs of each phase."""
    if not lineage:
        raise DataError("The lineage is empty: it must end with the run that is asked about.")
    if ("cpt", "pt") in pairwise(segment.phase for segment in lineage):
        raise DataError("The lineage has pre-training (pt) after continual pre-training (cpt).")
    for phase, rates in lineage:
        faulty = rates[~((rates >= 0) & (rates < np.inf))]
        if faulty.size:
            raise DataError(f"A learning rate in the {phase} phase is {faulty[0]}: it must be finite and at least 0.")
    return {
        phase: np.concatenate([np.empty(0), *(segment.learning_rate for segment in lineage if segment.phase == phase)])
        for phase in ("pt", "cpt")
    }


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
