"""Points that stand out from their neighbours: spikes, outliers, a bad last point, a mean given as the last point."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.plausibility.findings import Finding
from bayes_cpt.plausibility.scatter import Measured, measured_curves, rates_at
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.table_checks import SHOWN

STANDS_OUT = 6.0
"""Least departure of a point that stands out, in units of the scatter and a share of the changes nearby.

Among the 25,000 points of five measured data sets the largest is 4.6."""
NEARBY = 0.2
"""Share of the changes nearby that counts between two neighbours; at the end of a curve all of it counts."""
LONGEST = 3
"""Most neighbouring points that stand out together."""
MOST = 6
"""At most one point in so many stands out: else it is the curve that is strange, not its points."""
FEWEST = 4
"""Fewest other points from which a point stands out."""
MOVED = 0.05
"""Change of the LR, over the largest of the run, that may move a loss."""
OUTLIER, MEAN = "outlier", "mean-as-last"
"""Names of the two findings."""
GOES_BACK = 4.0
"""Least distance of a last point that is the mean of its run from the two before it, in the units of `STANDS_OUT`."""
NEAR_MEAN = 0.25
"""Largest distance from the mean of a last point that is the mean, as a share of that of the point before it.

Means weigh the steps in several ways."""
COLUMNS = ("run", "step", "domain", "loss", "expected", "finding")


class Departure(NamedTuple):
    """Neighbouring points from ``first`` until ``end`` (places), what was expected, and how far they stand out."""

    first: int
    end: int
    expected: FloatArray
    size: float


@lru_cache(maxsize=4)
def outlying_points(curves: Curves) -> pd.DataFrame:
    """Return the points that clearly stand out from their neighbours.

    Parameters
    ----------
    curves
        The runs.

    Returns
    -------
    DataFrame
        Columns run, step, domain, loss; ``expected``, the loss that the neighbours let expect; and ``finding``, the
        name of what they are. No rows in sound data.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> from bayes_cpt.plausibility.outliers import outlying_points
    >>> len(outlying_points(bc.read_curves(bc.shipped("data/checkpoints"))))
    0
    """
    rows = [row for curve in measured_curves(curves).values() for row in _outlying(curves, curve)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"step": "int64", "loss": float, "expected": float})


def without(curves: Curves, points: pd.DataFrame) -> Curves:
    """Return curves without some of their points."""
    if points.empty:
        return curves
    keys = ["run", "step", "domain"]
    left = pd.MultiIndex.from_frame(curves.losses[keys]).isin(pd.MultiIndex.from_frame(points[keys]))
    return curves.with_losses(curves.losses[~left])


def _outlying(curves: Curves, curve: Measured) -> Iterator[tuple[str, int, str, float, float, str]]:
    rate = rates_at(curves, curve.run, curve.step)
    found = _mean_as_last(curve, rate) or _standing_out(curve, rate)
    for place, expected, name in sorted(found):
        yield curve.run, int(curve.step[place]), curve.domain, float(curve.loss[place]), expected, name


def _standing_out(curve: Measured, rate: FloatArray) -> list[tuple[int, float, str]]:
    """Return places, expected losses and the finding of points that stand out; none if they are too many."""
    places, found = np.arange(curve.step.size), []
    while (worst := _worst(curve.only(places), rate[places])) is not None:
        inside = slice(worst.first, worst.end)
        found += [(place, expected, OUTLIER) for place, expected in zip(places[inside], worst.expected, strict=True)]
        places = np.delete(places, inside)
        if len(found) > max(1, curve.step.size // MOST):
            return []
    return found


def _mean_as_last(curve: Measured, rate: FloatArray) -> list[tuple[int, float, str]]:
    """Return the last point if it goes back to the mean of the run, beyond the two points before it."""
    last = curve.step.size - 1
    found = departure(curve, last, last + 1) if last > 3 else None
    if found is None or _explained(curve, rate, found):
        return []
    before, own = curve.loss[:-1], curve.loss[-1]
    mean = min((before.mean(), curve.loss.mean()), key=lambda value: abs(value - own))
    back = (own - before[-2:]).min() if mean > before[-1] else (before[-2:] - own).min()
    near = abs(own - mean) <= NEAR_MEAN * abs(before[-1] - mean)
    far = back > GOES_BACK * (curve.scatter + NEARBY * abs(before[-1] - before[-2]))
    return [(last, float(found.expected[0]), MEAN)] if near and far else []


def _worst(curve: Measured, rate: FloatArray) -> Departure | None:
    departures = (
        found
        for length in range(1, LONGEST + 1)
        for first in range(1, curve.step.size - length + 1)
        if (found := departure(curve, first, first + length)) and not _explained(curve, rate, found)
    )
    worst = max(departures, key=lambda found: found.size, default=None)
    return worst if worst and worst.size > STANDS_OUT else None


def departure(curve: Measured, first: int, end: int) -> Departure | None:
    """Return how far points stand out from their neighbours on both sides, or, at the end, from those before.

    Between neighbours only what is beyond both counts, so a steep curve does not stand out from itself. The scatter and
    a share of the changes nearby are the unit.
    """
    step, loss = curve.step, curve.loss
    inside, before, after = slice(first, end), loss[max(first - 2, 0) : first], loss[end : end + 2]
    gaps = np.diff(step).astype(float)
    earlier, later = gaps[max(first - 2, 0) : first - 1], gaps[end : end + 1]
    if curve.step.size - (end - first) < FEWEST:
        return None
    if after.size:
        expected = np.interp(step[inside], step[[first - 1, end]], loss[[first - 1, end]])
        nearby = [
            *np.diff(before) * _reaching(gaps[first - 1], earlier),
            *np.diff(after) * _reaching(gaps[end - 1], later),
        ]
        changes, share = [*nearby, after[0] - before[-1]], NEARBY
    elif first >= 3:
        slope = (loss[first - 1] - loss[first - 2]) / (step[first - 1] - step[first - 2])
        expected = loss[first - 1] + slope * (step[inside] - step[first - 1])
        changes, share = [*np.diff(loss[first - 3 : first]), expected[-1] - loss[first - 1]], 1.0
    else:
        return None
    excess = loss[inside] - expected
    if abs(np.sign(excess).sum()) < excess.size:
        return None
    edges = np.array([before[-1], after[0]]) if after.size else expected
    outside = (loss[inside] - edges.max()).min() if excess[0] > 0 else (edges.min() - loss[inside]).min()
    return Departure(first, end, expected, float(outside / (curve.scatter + share * np.abs(changes).max())))


def _reaching(gap: float, nearby: FloatArray) -> FloatArray:
    """Return how many times a change nearby counts: as often as its gap fits into the gap to the point."""
    return np.maximum(gap / nearby, 1.0)


def _explained(curve: Measured, rate: FloatArray, found: Departure) -> bool:
    """Return whether the LR may have moved the points, and not out of all range.

    A loss goes up where the LR rises, as in a re-warm-up, and then falls by itself. It goes down where the LR falls,
    and comes back only if the LR does.
    """
    excess = curve.loss[found.first : found.end] - found.expected
    rises = np.diff(rate[found.first - 1 : found.end + 1]) / max(rate.max(initial=0), 1e-300)
    at_end = found.end == curve.step.size
    moved = rises.max() if excess[0] > 0 else -rises.min() if at_end else min(-rises.min(), rises.max())
    others = np.delete(curve.loss, np.arange(found.first, found.end))
    return bool(moved > MOVED and np.abs(excess).min() < max(np.ptp(others), curve.reach))


# In words ------------------------------------------------------------------------------------------------------------


def outliers(curves: Curves) -> Iterator[Finding]:
    """Name the points that stand out, one finding per run."""
    yield from _named(curves, OUTLIER, "a loss spike, or a value of another measurement")


def mean_as_last(curves: Curves) -> Iterator[Finding]:
    """Name last points that are the mean of their run, one finding per run."""
    yield from _named(curves, MEAN, "the mean over the run, which some trainers log last; drop it")


def _named(curves: Curves, name: str, meaning: str) -> Iterator[Finding]:
    points = outlying_points(curves)
    for run, rows in points[points["finding"] == name].groupby("run", sort=False):
        shown = [
            f"step {row.step:,}, {row.domain}: {row.loss:.5g}, and about {row.expected:.4g} was expected"
            for row in rows.itertuples()
        ]
        count = "1 point stands" if len(rows) == 1 else f"{len(rows)} points stand"
        sentence = (
            f"run {str(run)!r}: {count} out from the neighbours and {'is' if len(rows) == 1 else 'are'} set aside "
            f"({'; '.join(shown[:SHOWN])}{'; ...' if len(shown) > SHOWN else ''}): {meaning}"
        )
        first = rows.iloc[0]
        numbers = (float(first["loss"]), float(first["expected"]))
        yield Finding(name, "warning", str(run), int(first["step"]), numbers, sentence)
