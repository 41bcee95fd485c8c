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
PHASES = ("pt", "cpt")


class Segment(NamedTuple):
    """One run's part of a lineage.

    Parameters
    ----------
    phase
        ``pt`` or ``cpt``.
    learning_rate
        (n,) The LR used at each of its steps.
    tokens
        Tokens of one of its steps, in units of those of a reference step: areas count tokens, so that a step of twice
        the batch counts as two.
    """

    phase: Literal["pt", "cpt"]
    learning_rate: FloatArray
    tokens: float = 1.0


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
    pretraining, continued = phases_of(lineage)
    points, memories = _checked_points(steps, lineage[-1].learning_rate.size), _checked_memory(memory)
    at_pt, at_cpt = positions(lineage, points)
    every = np.concatenate([pretraining.learning_rate, continued.learning_rate])
    return Areas(
        forward_pt=forward_area(pretraining)[at_pt],
        forward_cpt=forward_area(continued)[at_cpt],
        annealing_pt=annealing_area(pretraining, at_pt, memories),
        annealing_cpt=annealing_area(continued, at_cpt, memories),
        learning_rate=every[np.maximum(at_pt + at_cpt - 1, 0)],
    )


class Phase(NamedTuple):
    """One phase of a lineage, by step: (steps,) each."""

    learning_rate: FloatArray
    tokens: FloatArray
    """Of the step, in units of those of a reference step."""
    drop: FloatArray
    """By how much the LR fell with this step, negative where it rose; 0 in the PT warm-up."""
    warmup: int
    """Steps of the PT warm-up, the first ones; 0 in CPT."""


def phases_of(lineage: Sequence[Segment]) -> tuple[Phase, Phase]:
    """Return PT and CPT of a lineage; errors as of `areas`."""
    if not lineage:
        raise DataError("The lineage is empty: it must end with the run that is asked about.")
    if ("cpt", "pt") in pairwise(segment.phase for segment in lineage):
        raise DataError("The lineage has pre-training (pt) after continual pre-training (cpt).")
    for phase, rates, _tokens in lineage:
        faulty = rates[~((rates >= 0) & (rates < np.inf))]
        if faulty.size:
            raise DataError(f"A learning rate in the {phase} phase is {faulty[0]}: it must be finite and at least 0.")
    (pt_rates, pt_tokens), (cpt_rates, cpt_tokens) = (_joined(lineage, phase) for phase in ("pt", "cpt"))
    if not pt_rates.size + cpt_rates.size:
        raise DataError("The lineage has no steps, so no learning rate.")
    before = pt_rates[-1:] if pt_rates.size else cpt_rates[:1]
    warmup, pt_drop = warmup_of(pt_rates), _drop(pt_rates, pt_rates[:1])
    pt_drop[:warmup] = 0.0
    return Phase(pt_rates, pt_tokens, pt_drop, warmup), Phase(cpt_rates, cpt_tokens, _drop(cpt_rates, before), 0)


def positions(lineage: Sequence[Segment], steps: IntArray) -> tuple[IntArray, IntArray]:
    """Return how many steps of PT and of CPT are done at steps of the last segment."""
    of_phase = {phase: sum(part.learning_rate.size for part in lineage if part.phase == phase) for phase in PHASES}
    done = steps + sum(of_phase.values()) - lineage[-1].learning_rate.size
    at_pt = np.minimum(done, of_phase["pt"])
    return at_pt, done - at_pt


def forward_area(phase: Phase) -> FloatArray:
    """Forward area of a phase after 0, 1, ... steps."""
    return np.concatenate([[0.0], np.cumsum(phase.learning_rate * phase.tokens)])


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


def annealing_area(phase: Phase, position: IntArray, memories: FloatArray) -> FloatArray:
    """Annealing area of a phase at positions (steps done), (points, memories).

    Summing m_t over time undoes the difference in it: S2_t = lambda S2_{t-1} + fall_t, where fall_t is the sum of the
    drops up to t. That is one recursion a memory, of which only the asked positions are kept. A step of b reference
    steps' tokens forgets lambda^b, and adds what b steps would.
    """
    # TINY keeps a fading area out of the subnormal numbers, which are ten times slower; what it leaves is cut to 0
    fall = np.cumsum(phase.drop[: position.max(initial=0)]) + TINY
    area = np.empty((position.size, memories.size))
    for column, memory in enumerate(memories):
        area[:, column] = np.concatenate([[0.0], faded(fall, phase.tokens, memory)])[position]
    return np.where(np.abs(area) < np.sqrt(TINY) * memories, 0.0, area)


def faded(inflow: FloatArray, tokens: FloatArray, memory: float) -> FloatArray:
    """Accumulate an inflow that is forgotten over a memory, (steps,): the recursion of `annealing_area`."""
    inflow_until = np.flatnonzero(np.diff(tokens[: inflow.size])) + 1
    pieces, last = [], 0.0
    for part, size in zip(np.split(inflow, inflow_until), np.split(tokens[: inflow.size], inflow_until), strict=True):
        if part.size:
            kept = (1 - 1 / memory) ** size[0]
            values, _state = lfilter([(1 - kept) * memory], [1.0, -kept], part, zi=[kept * last])
            pieces.append(values)
            last = float(values[-1])
    return np.concatenate(pieces) if pieces else np.empty(0)


def warmup_of(learning_rate: FloatArray) -> int:
    """Steps of the warm-up: the initial stretch of strictly rising LRs."""
    return int(np.argmin(np.append(np.diff(learning_rate) > 0, False))) + 1 if learning_rate.size else 0


def _drop(learning_rate: FloatArray, before: FloatArray) -> FloatArray:
    """Drop of the LR with each step, from the LR ``before`` the first, (1,)."""
    return -np.diff(learning_rate, prepend=before) if learning_rate.size else np.empty(0)


def _joined(lineage: Sequence[Segment], phase: str) -> tuple[FloatArray, FloatArray]:
    """Return LRs and tokens of every step of a phase."""
    parts = [segment for segment in lineage if segment.phase == phase]
    rates = [part.learning_rate for part in parts]
    tokens = [np.full(part.learning_rate.size, part.tokens) for part in parts]
    return np.concatenate([np.empty(0), *rates]), np.concatenate([np.empty(0), *tokens])


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
