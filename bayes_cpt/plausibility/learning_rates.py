"""Learning rates (LRs) that are rounded, in another unit, or listed at few steps; batches in another unit."""

from collections.abc import Iterator

import numpy as np

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.plausibility.findings import Finding, also
from bayes_cpt.plausibility.scatter import Measured, listed_end, measured_curves, rates_at
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.identifiability import SAME_PEAK

MOVES = 6.0
"""Least change of a loss that its noise does not explain, in units of its scatter."""
MOST_LEVELS = 30
"""Most units of the last decimal in a peak LR that was rounded too far: with more, rounding changes it by under 2 %."""
FEW_SEGMENTS = 10
"""Segments below which a schedule drawn by straight lines is off: a cosine by half a per cent of its peak and more."""
STRAIGHT = 0.05
"""Share by which slopes of neighbouring segments differ, if the schedule is curved."""
LOGGED = 2e-4
"""Share by which the largest LRs of one peak differ in any log."""
UNITS_APART = 30.0
"""Least ratio of peak LRs that is a unit's: CPT from a checkpoint has at most a few times the peak of its PT."""
ANNEALED = 3e-4
"""Least ratio of a peak LR of CPT to that of its PT that is a choice, not a unit."""
LEAST_TOKENS = 0.2
"""Fewest tokens per parameter of a training from scratch; a hundredth of what is usual."""
SEQUENCE = 100.0
"""Least ratio of two batches that is the length of a sequence in tokens, not a choice."""


def zero_learning_rate(curves: Curves) -> Iterator[Finding]:
    """Find runs, or long parts of runs, with LR 0 while the loss moves."""
    measured = measured_curves(curves).values()
    for always in (True, False):
        found = {}
        for curve in measured:
            rate = curves.listed_rates[curve.run][1]
            if (rate == 0).any() and rate.any() != always and (still := _still(curves, curve)) is not None:
                found.setdefault(curve.run, (curve, still))
        if found:
            run, (curve, still) = next(iter(found.items()))
            first, last = float(still.loss[0]), float(still.loss[-1])
            where = "every step" if always else f"steps {still.step[0]:,} to {still.step[-1]:,}"
            sentence = (
                f"run {run!r} has LR 0 at {where}{also(found, run)}, while its {curve.domain} loss goes from "
                f"{first:g} to {last:g}: was the LR rounded in the log? Give it with all its digits, from the "
                "configuration if need be"
            )
            severity = "refusal" if always else "warning"
            yield Finding("zero-learning-rate", severity, run, int(still.step[0]), (0.0, first, last), sentence)


def _still(curves: Curves, curve: Measured) -> Measured | None:
    """Return the longest part of a curve with LR 0, if the loss moves there."""
    zero = rates_at(curves, curve.run, curve.step) == 0
    parts = np.split(np.arange(zero.size), np.flatnonzero(np.diff(zero)) + 1)
    still = curve.only(max((part for part in parts if zero[part[:1]].any()), key=len, default=np.arange(0)))
    return still if still.step.size > 2 and np.ptp(still.loss) > MOVES * curve.scatter else None


def rounded_learning_rate(curves: Curves) -> Iterator[Finding]:
    """Find schedules that go up or down in steps of the last decimal."""
    for run, (step, rate) in curves.listed_rates.items():
        unit = _unit(rate)
        if unit is None:
            continue
        first = int(step[1 + np.flatnonzero(np.diff(rate) < 0)[0]])
        levels = np.unique(rate).size
        sentence = (
            f"run {run!r}: the LR has {levels} values, all multiples of {unit:g}, and falls from one to the next "
            f"(first at step {first:,}): was it rounded in the log? Give it with all its digits, from the "
            "configuration if need be"
        )
        yield Finding("rounded-learning-rate", "warning", run, first, (unit, float(rate.max())), sentence)


def _unit(rate: FloatArray) -> float | None:
    """Return the power of ten whose multiples a falling LR passes through, staying at some; None if there is none."""
    if not rate.max() > 0:
        return None
    decimals = next((n for n in range(1, 12) if np.allclose(rate, rate.round(n), rtol=0, atol=1e-6 * rate.max())), None)
    if decimals is None:
        return None
    level = np.rint(rate * 10.0**decimals)
    falls = -np.diff(level)[np.diff(level) < 0]
    stays = (np.diff(level) == 0) & (level[1:] < level.max())
    few = level.max() <= MOST_LEVELS and falls.size >= 2 and np.median(falls) == 1
    return 10.0**-decimals if few and stays.sum() >= 2 and rate.size > np.unique(level).size + 2 else None


def coarse_learning_rate(curves: Curves) -> Iterator[Finding]:
    """Find peaks that differ by logging alone, and curved schedules that few rows describe."""
    yield from _almost_one_peak(curves)
    for run, (step, rate) in curves.listed_rates.items():
        segments = _curved_segments(step, rate)
        if 3 <= segments < FEW_SEGMENTS:
            sentence = (
                f"run {run!r}: {segments} straight segments describe a curved decay of the LR from {rate.max():g} to "
                f"{rate[-1]:g} at step {step[-1]:,}: list it at more steps, or its sum and its end are off"
            )
            yield Finding("coarse-learning-rate", "warning", run, int(step[-1]), (float(segments),), sentence)


def _almost_one_peak(curves: Curves) -> Iterator[Finding]:
    """Find the CPT run whose rows miss the peak of another by most, within what counts as one peak."""
    peaks = {run: float(curves.listed_rates[run][1].max()) for run, row in curves.records.items() if row.phase == "cpt"}
    found = [
        (peak - other, run, twin)
        for run, peak in peaks.items()
        for twin, other in peaks.items()
        if other * (1 - SAME_PEAK) <= peak < other * (1 - LOGGED) and _misses_its_peak(*curves.listed_rates[run])
    ]
    if found:
        _, run, twin = min(found)
        step = int(curves.listed_rates[run][0][curves.listed_rates[run][1].argmax()])
        sentence = (
            f"the largest LR listed of run {run!r} is {peaks[run]:.6g} (step {step:,}), of {twin!r} "
            f"{peaks[twin]:.6g}: one peak, between two rows of the log? They are taken as one; list the LR at the "
            "step of the peak too"
        )
        yield Finding("coarse-learning-rate", "warning", run, step, (peaks[run], peaks[twin]), sentence)


def _misses_its_peak(step: IntArray, rate: FloatArray) -> bool:
    """Return whether the peak may lie between two rows: the largest LR is not the first, and rows are steps apart."""
    place = int(rate.argmax())
    return 0 < place < rate.size - 1 and bool(np.diff(step[place - 1 : place + 2]).max() > 1)


def _curved_segments(step: IntArray, rate: FloatArray) -> int:
    """Return the number of segments of a decay at the end if it is curved, else 0."""
    slope = np.diff(rate) / np.diff(step)
    falling = int(np.argmin(np.append(slope[::-1] < 0, False)))
    slopes = slope[slope.size - falling :]
    bends = np.abs(np.diff(slopes)) > STRAIGHT * np.abs(slopes).max(initial=0)
    return slopes.size if slopes.size >= 3 and bends.mean() > 0.5 else 0


# Units ---------------------------------------------------------------------------------------------------------------


def learning_rate_unit(curves: Curves) -> Iterator[Finding]:
    """Find peak LRs that differ by powers of ten: between CPT and its PT, and between CPT runs."""
    peaks = {run: float(rate.max()) for run, (_, rate) in curves.listed_rates.items() if rate.any()}
    of_cpt = {run: peak for run, peak in peaks.items() if curves.records[run].phase == "cpt"}
    of_pt = {run: peak for run, peak in peaks.items() if run not in of_cpt}
    for group in (of_pt, of_cpt):
        if (found := _far_from_most(group)) is not None:
            yield found
            return
    for run, peak in of_cpt.items():
        pretraining = max((of_pt[name] for name in curves.lineage(run).ancestors if name in of_pt), default=np.nan)
        ratio = peak / pretraining
        if ratio >= UNITS_APART or ratio <= ANNEALED:
            yield _in_units(run, peak, "its pre-training", pretraining)
            return


def _far_from_most(peaks: dict[str, float]) -> Finding | None:
    """Return a finding if the peak of a run is some powers of ten from that of most."""
    if len(peaks) < 2:
        return None
    run, peak = max(peaks.items(), key=lambda item: item[1])
    common = float(np.median([value for name, value in peaks.items() if name != run]))
    lowest, low = min(peaks.items(), key=lambda item: item[1])
    if peak / low < 1 / ANNEALED:
        return None
    other = common if peak / common >= UNITS_APART else low
    return _in_units(run, peak, "other runs of its phase" if other == common else f"run {lowest!r}", other)


def _in_units(run: str, peak: float, whose: str, other: float) -> Finding:
    power = round(np.log10(peak) - np.log10(other))
    sentence = (
        f"run {run!r} has a peak LR of {peak:g}, {whose} of {other:g}: is one of them given in units of about "
        f"1e{-power:d}? Give all LRs in one unit"
    )
    return Finding("learning-rate-unit", "warning", run, 1, (peak, other), sentence)


def batch_tokens_unit(curves: Curves) -> Iterator[Finding]:
    """Find runs whose batch_tokens are in sequences: far fewer than those of others, or than a model can learn from."""
    batches = {run: record.batch_tokens for run, record in curves.records.items() if record.batch_tokens > 0}
    if not batches:
        return
    run, smallest = min(batches.items(), key=lambda item: item[1])
    other, largest = max(batches.items(), key=lambda item: item[1])
    if largest / smallest >= SEQUENCE:
        ratio = f"{largest / smallest:,.0f}"
        sentence = (
            f"run {run!r} has batch_tokens {smallest:,.0f}, {other!r} {largest:,.0f}, {ratio} times as many: is the "
            f"former in sequences (of {ratio} tokens)? Give tokens per step for all runs"
        )
        yield Finding("batch-tokens-unit", "warning", run, -1, (smallest, largest), sentence)
        return
    for run, batch in batches.items():
        record, steps = curves.records[run], listed_end(curves, run)
        seen = steps * batch / record.model_size
        if record.phase == "pt" and record.parent is None and seen < LEAST_TOKENS:
            sentence = (
                f"run {run!r} trains {record.model_size:,.0f} parameters from scratch on {steps:,} steps of "
                f"{batch:,.0f} tokens, {seen:.2g} tokens per parameter: is batch_tokens in sequences? Give tokens "
                "per step"
            )
            yield Finding("batch-tokens-unit", "warning", run, steps, (batch, seen), sentence)
            return
