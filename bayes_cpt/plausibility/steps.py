"""Counters of steps: tokens, micro-steps, an offset that was not subtracted, a counter that restarted."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.plausibility.findings import Finding, also
from bayes_cpt.plausibility.scatter import ENOUGH, Measured, deviation, listed_end, measured_curves, residuals_of
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.lineage import PHASES
from bayes_cpt.runs.table_checks import listed

MOST_STEPS = 10_000_000
"""Optimiser steps that no training has: the largest have a tenth of it."""
LARGE_BATCH = 500
"""Least tokens of a step for which steps that are all multiples of it are likely to be tokens."""
SAME_END = 0.01
"""Share by which the ends of one schedule may differ, as logged."""
WIDE = 0.15
"""Share of a schedule between two losses, above which its end is not known well enough to tell a ratio."""
TORN = 6.0
"""Least distance of two curves that interleave, in units of the scatter along them; for noise alone it is about 1."""
TURNS = 12
"""Losses among which two curves that interleave in turn are sought."""
LATE = np.iinfo(np.int64).max
"""A step after all steps."""
MOST_RESTARTS = 5
"""Rows whose steps go back more often are in no order."""


def tokens_for_steps(curves: Curves) -> Iterator[Finding]:
    """Find runs whose steps are tokens; nothing here needs memory for each step."""
    ends = {run: end for run in curves.records if (end := _end_in_tokens(curves, run))}
    if not ends:
        return
    run, end = max(ends.items(), key=lambda item: item[1])
    batch = curves.records[run].batch_tokens
    per_step = f", that is {end / batch:,.0f} steps of {batch:,.0f} (batch_tokens)" if batch > 1 else ""
    sentence = (
        f"run {run!r} ends at step {end:,}{also(ends, run)}: tokens given as steps{per_step}? Divide all steps by "
        "the tokens of a step, in losses.csv, lr.csv and runs.csv (parent_step)"
    )
    yield Finding(
        "tokens-for-steps", "refusal" if end > MOST_STEPS else "warning", run, end, (float(end), batch), sentence
    )


def _end_in_tokens(curves: Curves, run: str) -> int | None:
    """Return the last step of a run if it seems to be counted in tokens: none has as many, or all are whole batches."""
    steps = np.unique(curves.losses.loc[curves.losses["run"] == run, "step"].to_numpy(np.int64))
    end = max(listed_end(curves, run), int(steps.max(initial=0)))
    return end if end > MOST_STEPS or _all_multiples(steps[steps > 0], curves.records[run].batch_tokens) else None


def _all_multiples(steps: IntArray, batch: float) -> bool:
    return bool(batch >= LARGE_BATCH and steps.size > 1 and gcd(*steps.tolist()) % int(batch) == 0)


# Micro-steps ---------------------------------------------------------------------------------------------------------


def micro_steps(curves: Curves) -> Iterator[Finding]:
    """Find phases in which all losses end at one whole fraction of the schedule, as with gradient accumulation."""
    ends = {run: _last_steps(curves, run) for run in curves.records if not _gap_of_an_offset(curves, run)}
    for phase in PHASES:
        found = {run: end for run, end in ends.items() if end is not None and curves.records[run].phase == phase}
        ratio = _one_ratio(list(found.values()))
        if ratio is None:
            continue
        run, (last, _, end) = next(iter(found.items()))
        sentence = (
            f"the losses of {listed(list(found))} end at 1/{ratio} of the schedule ({run!r}: at step {last:,} of "
            f"{end:,}): are LRs counted by micro-step and losses by optimiser step (gradient accumulation of "
            f"{ratio})? Then divide the steps of lr.csv by {ratio}; runs that are not finished need no change"
        )
        yield Finding("micro-steps", "warning", run, last, (float(last), float(end), float(ratio)), sentence)


def _last_steps(curves: Curves, run: str) -> tuple[int, int, int] | None:
    """Return the last measured step, the first at which a next would be, and the end of the schedule."""
    steps = np.unique(curves.losses.loc[curves.losses["run"] == run, "step"].to_numpy(np.int64))
    if steps.size < 2:
        return None
    last = int(steps[-1])
    return last, last + max(int(np.median(np.diff(steps))), 1), listed_end(curves, run)


def _one_ratio(ends: Sequence[tuple[int, int, int]]) -> int | None:
    """Return the whole number that schedules are longer by, if it is one for all of them.

    A schedule may end anywhere between the last measured step and the next, if losses are so dense that this says
    something, and there are several runs; else it must end at the last.
    """
    if not ends:
        return None
    largest = min(end / last for last, _, end in ends)
    smallest = max(end / following for _, following, end in ends)
    exact = len(ends) == 1 or smallest < largest * (1 - WIDE)
    smallest = max(end / last for last, _, end in ends) if exact else smallest
    ratio = ceil(smallest * (1 - SAME_END))
    return ratio if ratio >= 2 and ratio <= largest * (1 + SAME_END) else None


# An offset -----------------------------------------------------------------------------------------------------------


def step_offset(curves: Curves) -> Iterator[Finding]:
    """Find runs whose steps go on from those of the parent."""
    offsets = {run: offset for run in curves.records if (offset := _offset(curves, run)) is not None}
    if not offsets:
        return
    run, offset = next(iter(offsets.items()))
    first, listed_first = _first_steps(curves, run)
    late, leaps = _goes_on(first, offset, curves, run), _leaps(curves, run, offset, listed_first)
    where = [f"its first loss at step {first:,}"] * late + [f"no LR between steps 1 and {listed_first:,}"] * leaps
    record = curves.records[run]
    sentence = (
        f"run {run!r} goes on from step {record.parent_step:,} of {record.parent!r} and has {' and '.join(where)}"
        f"{also(offsets, run)}: steps count from 1 within each run, so subtract {offset:,} from its steps in "
        "losses.csv and lr.csv; a row added at step 1 does not mend it"
    )
    step = first if late else listed_first
    yield Finding("step-offset", "warning", run, step, (float(step), float(offset)), sentence)


def _offset(curves: Curves, run: str) -> int | None:
    """Return the number of steps that a run's steps are too large by, if its first loss or LR says so."""
    first, listed_first = _first_steps(curves, run)
    return next(
        (
            offset
            for offset in _possible_offsets(curves, run)
            if _goes_on(first, offset, curves, run) or _leaps(curves, run, offset, listed_first)
        ),
        None,
    )


def _possible_offsets(curves: Curves, run: str) -> list[int]:
    """Return the steps of the parent until the branch, and those of all ancestors together."""
    record, total, found = curves.records[run], 0, []
    while record.parent is not None:
        total += record.parent_step
        found.append(total)
        record = curves.records[record.parent]
    return [offset for offset in found if offset > 0]


def _first_steps(curves: Curves, run: str) -> tuple[int, int]:
    """Return the first step after 0 with a loss (0 if there is none), and the first with an LR after the first row."""
    steps = curves.losses.loc[(curves.losses["run"] == run) & (curves.losses["step"] > 0), "step"]
    listed_steps = curves.listed_rates[run][0]
    return int(steps.min()) if len(steps) else 0, int(listed_steps[min(1, listed_steps.size - 1)])


def _goes_on(first: int, offset: int, curves: Curves, run: str) -> bool:
    """Return whether the first loss is where a run would have it that counts on from its parent."""
    steps = np.unique(curves.losses.loc[curves.losses["run"] == run, "step"].to_numpy(np.int64))
    steps = steps[steps > 0]
    apart = int(np.median(np.diff(steps))) if steps.size > 1 else 1
    return first > 2 * apart and -0.01 * offset <= first - offset <= 2 * apart


def _leaps(curves: Curves, run: str, offset: int, listed_first: int) -> bool:
    """Return whether the LRs have a row at step 1 and go on only after the offset."""
    steps = curves.listed_rates[run][0]
    if steps.size < 3:
        return False
    return bool(offset <= listed_first <= offset + np.diff(steps[1:]).max() and listed_first > (steps[-1] - steps[1]))


def _gap_of_an_offset(curves: Curves, run: str) -> bool:
    _, listed_first = _first_steps(curves, run)
    return any(_leaps(curves, run, offset, listed_first) for offset in _possible_offsets(curves, run))


# A counter that restarted --------------------------------------------------------------------------------------------


def counter_restarts(curves: Curves) -> Iterator[Finding]:
    """Find runs in which two curves interleave, on most of the domains."""
    measured = measured_curves(curves)
    for run in curves.records:
        own = [curve for curve in measured.values() if curve.run == run]
        torn = [found for curve in own if (found := _torn(curve, measured.values())) is not None]
        if not torn or 2 * len(torn) < len(own):
            continue
        curve, place, apart, scatter = torn[0]
        (before, first), (after, second) = ((int(curve.step[at]), float(curve.loss[at])) for at in (place, place + 1))
        sentence = (
            f"run {run!r}: its {curve.domain} losses are {first:g} at step {before:,} and {second:g} at step "
            f"{after:,}, and go on to and fro: two curves, {apart:.2g} nats apart with a scatter of {scatter:.2g}, "
            "interleave. Did a counter restart after a resume? Then add the steps done before it"
        )
        yield Finding("counter-restarts", "warning", run, before, (first, second), sentence)


def _torn(curve: Measured, measured: Iterable[Measured]) -> tuple[Measured, int, float, float] | None:
    """Return a curve if two interleave in it, a place where they do, how far they are apart, and their scatter."""
    calm = _calm(curve, measured)
    for places, second in _halves(curve):
        part = curve.only(places)
        apart, scatter, between = _apart(part.only(~second), part.only(second), calm)
        if apart > TORN * scatter and _to_and_fro(part.loss[between(part.step)]):
            mixed = np.flatnonzero((second[1:] != second[:-1]) & between(part.step[1:]) & between(part.step[:-1]))
            jump = np.abs(np.diff(part.loss))[mixed]
            return curve, int(places[mixed[jump.argmax()]]), apart, scatter
    return None


def _to_and_fro(loss: FloatArray) -> bool:
    """Return whether losses mostly go up and down in turn; those of one steep curve do not."""
    turns = np.diff(loss)[1:] * np.diff(loss)[:-1] < 0
    return bool(turns.sum() >= 2 and turns.mean() >= 0.5)


def _calm(curve: Measured, measured: Iterable[Measured]) -> float:
    """Return the scatter of every other loss, as if two curves interleaved; of a short curve, that of other runs."""
    own = np.concatenate([residuals_of(*_points(curve.only(slice(k, None, 2)))) for k in (0, 1)])
    if own.size < ENOUGH:
        others = [other for other in measured if other.domain == curve.domain and other.run != curve.run]
        around = [residuals_of(*_points(other)) for other in others[:ENOUGH]]
        own = np.concatenate(around) if around else own
    return deviation(own) or curve.scatter


def _halves(curve: Measured) -> Iterator[tuple[IntArray, NDArray[np.bool_]]]:
    """Yield parts of a curve (places), and which of their points may be another curve's.

    By the order of the rows, in which a counter that restarts goes back; and in turn, for rows that were sorted.
    """
    order = np.argsort(curve.row)
    passes = np.cumsum(np.diff(curve.step[order], prepend=curve.step[order[0]]) < 0)
    if 0 < passes[-1] <= MOST_RESTARTS:
        second = np.empty(order.size, bool)
        second[order] = passes % 2 == 1
        yield np.arange(order.size), second
    size = min(TURNS, curve.step.size)
    for start in range(0, curve.step.size - size + 1, TURNS // 2):
        yield np.arange(start, start + size), np.arange(size) % 2 == 1


def _apart(
    first: Measured, second: Measured, calm: float
) -> tuple[float, float, Callable[[IntArray], NDArray[np.bool_]]]:
    """Return how far two curves are apart over the steps that both cover, the scatter along them, and those steps.

    They are 0 apart if neither is mostly above the other.
    """
    low = max(first.step.min(initial=LATE), second.step.min(initial=LATE))
    high = min(first.step.max(initial=0), second.step.max(initial=0))

    def between(step: IntArray) -> NDArray[np.bool_]:
        return (step >= low) & (step <= high)

    inside = second.only(between(second.step))
    if inside.step.size < 2 or between(first.step).sum() < 1:
        return 0.0, 1.0, between
    differences = inside.loss - np.interp(inside.step, *_points(first))
    one_sided = abs(np.sign(differences).sum()) >= 0.6 * differences.size
    along = np.concatenate([residuals_of(*_points(part)) for part in (first, second)])
    return float(np.median(np.abs(differences))) * one_sided, max(calm, deviation(along)), between


def _points(curve: Measured) -> tuple[IntArray, FloatArray]:
    return curve.step, curve.loss
