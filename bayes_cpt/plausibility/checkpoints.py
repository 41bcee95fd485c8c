"""One checkpoint has one loss: the loss at step 0 of all runs that start from it, and of its own run there."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.domain_names import DomainNames
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.plausibility.findings import Finding
from bayes_cpt.plausibility.scatter import Measured, measured_curves
from bayes_cpt.plausibility.units import unit_of
from bayes_cpt.runs.curves import Curves

DOUBTFUL, IMPOSSIBLE = 4.5, 6.0
"""Differences of two losses of one checkpoint, in units of their noise, that noise hardly explains, and never."""


class Starts(NamedTuple):
    """What was measured of one checkpoint on one domain.

    Parameters
    ----------
    parent, parent_step, domain
        The checkpoint.
    runs, losses, replay
        The runs that start from it, their losses at step 0 and their replay ratios.
    own
        Lowest and highest loss that its own run lets expect: equal if it was measured there, NaN if unknown.
    scatter
        Standard deviation of the noise of one loss.
    """

    parent: str
    parent_step: int
    domain: str
    runs: tuple[str, ...]
    losses: FloatArray
    replay: FloatArray
    own: tuple[float, float]
    scatter: float


class Pair(NamedTuple):
    """Two losses of one checkpoint that differ most: of whom, where, and by how much in units of the noise."""

    run: str
    loss: float
    other: str
    other_loss: float
    size: float


def two_losses(curves: Curves) -> Iterator[Finding]:
    """Find checkpoints with two losses."""
    measured = measured_curves(curves)
    for starts in starts_of(curves, measured):
        pair = max(_pairs(starts), key=lambda found: found.size, default=None)
        if pair is None or pair.size < DOUBTFUL:
            continue
        severity = "refusal" if pair.size >= IMPOSSIBLE else "warning"
        sentence = (
            f"one checkpoint, step {starts.parent_step:,} of {starts.parent!r}, has two losses on {starts.domain}: "
            f"{pair.loss:.5g} at step 0 of run {pair.run!r}, {pair.other_loss:.5g} {pair.other} (their scatter is "
            f"{starts.scatter:.2g}): {_meaning(starts, pair, measured, curves.names)}"
        )
        yield Finding("two-losses", severity, pair.run, 0, (pair.loss, pair.other_loss), sentence)


def starts_of(curves: Curves, measured: Mapping[tuple[str, str], Measured]) -> Iterator[Starts]:
    """Yield what was measured of each checkpoint and domain."""
    children: dict[tuple[str, int], list[str]] = {}
    for run, record in curves.records.items():
        if record.parent is not None:
            children.setdefault((record.parent, record.parent_step), []).append(run)
    for (parent, step), runs in children.items():
        for domain in sorted({name for _, name in measured}):
            begun = [measured[run, domain] for run in runs if (run, domain) in measured]
            begun = [curve for curve in begun if np.isfinite(curve.at(0))]
            family = [*begun, *([measured[parent, domain]] if (parent, domain) in measured else [])]
            if begun:
                yield Starts(
                    parent,
                    step,
                    domain,
                    tuple(curve.run for curve in begun),
                    np.array([curve.at(0) for curve in begun]),
                    np.array([curves.records[curve.run].replay for curve in begun]),
                    _expected(measured.get((parent, domain)), step),
                    float(np.median([curve.scatter for curve in family])),
                )


def _expected(curve: Measured | None, step: int) -> tuple[float, float]:
    """Return the lowest and the highest loss that a run's curve allows at a step."""
    if curve is None or curve.step.size < 2:
        return np.nan, np.nan
    if np.isfinite(own := curve.at(step)):
        return own, own
    place = int(np.searchsorted(curve.step, step))
    if place == 0:
        return np.nan, np.nan
    if place < curve.step.size:
        low, high = sorted(curve.loss[place - 1 : place + 1].tolist())
        return low, high
    return np.nan, np.nan  # after the last loss nothing is known: the LR may have fallen


def _pairs(starts: Starts) -> Iterator[Pair]:
    """Yield the losses of one checkpoint against each other: each run's to the others', and their median to its own."""
    losses, count = starts.losses, len(starts.losses)
    for place in range(count):
        others = np.delete(losses, place)
        if count > 2:
            middle = int(np.delete(np.arange(count), place)[np.argsort(others)[(count - 1) // 2]])
            noise = starts.scatter * np.sqrt(1 + 1.5 / (count - 1))
            yield _pair(starts, place, f"at step 0 of {starts.runs[middle]!r}", float(np.median(others)), noise)
        elif place:
            yield _pair(
                starts, place, f"at step 0 of {starts.runs[0]!r}", float(losses[0]), starts.scatter * np.sqrt(2)
            )
    low, high = starts.own
    if np.isfinite(low):
        middle = int(np.argsort(losses)[count // 2])
        nearest = float(np.clip(np.median(losses), low, high))
        noise = starts.scatter * np.sqrt(1 + min(1.5, count) / count)
        yield _pair(starts, middle, "of its own run there", nearest, noise)


def _pair(starts: Starts, place: int, other: str, expected: float, noise: float) -> Pair:
    loss = float(starts.losses[place])
    return Pair(starts.runs[place], loss, other, expected, abs(loss - expected) / noise)


# What is likely meant ------------------------------------------------------------------------------------------------


def _meaning(starts: Starts, pair: Pair, measured: Mapping[tuple[str, str], Measured], names: DomainNames) -> str:
    unit = unit_of(pair.loss, pair.other_loss)
    if unit:
        return f"is one of them in {unit}? Give all losses in nats per token"
    if _follows_replay(starts, measured, names):
        return (
            "it falls with the replay ratio as a mixture does: is it the training loss? Give the held-out loss on "
            f"{names.cpt}"
        )
    found = _step_of(measured.get((starts.parent, starts.domain)), pair.loss)
    elsewhere = f" (its own run has {pair.loss:.5g} at about step {found:,})" if found is not None else ""
    return (
        "another set of texts or tokenizer, an auxiliary loss added to one of them, or another parent_step"
        f"{elsewhere}? Measure the checkpoint once, and give all runs that loss"
    )


def _follows_replay(starts: Starts, measured: Mapping[tuple[str, str], Measured], names: DomainNames) -> bool:
    """Return whether losses at step 0 are those of a mixture: cpt - replay x (cpt - pt)."""
    pt = [curve.at(0) for run in starts.runs if (curve := measured.get((run, names.pt))) is not None]
    if starts.domain != names.cpt or np.ptp(starts.replay) == 0 or not np.isfinite(pt).any():
        return False
    slope, base = np.polyfit(starts.replay, starts.losses, 1)
    fits = np.abs(starts.losses - base - slope * starts.replay).max() <= DOUBTFUL * starts.scatter
    return bool(fits and abs(slope + base - np.nanmedian(pt)) < 0.2 * abs(slope))


def _step_of(curve: Measured | None, loss: float) -> int | None:
    """Return the step at which a run's curve passes through a loss."""
    if curve is None:
        return None
    crossing = np.flatnonzero((curve.loss[:-1] - loss) * (curve.loss[1:] - loss) <= 0)
    return int(curve.step[crossing[-1] + 1]) if crossing.size else None
