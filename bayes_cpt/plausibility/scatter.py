"""Measured curves one by one, and the scatter of their losses, to which all thresholds refer."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.runs.curves import Curves

WINDOW = 4
"""Neighbouring points from which a residual is taken: three are needed for a parabola, the fourth departs from it."""
ENOUGH = 9
"""Residuals from which the scatter of a single curve is estimated; with fewer, those of its domain are used."""
NORMAL = 1.4826
"""Standard deviation / median absolute value of a normal distribution."""
SAME_RATE = 0.01
"""Share of the peak by which the LRs of one schedule differ: logs of one schedule round it in their own ways."""
FOLLOWING = 10
"""Runs after it with which each run is compared, so that hundreds of runs take seconds."""
MOST_DECIMALS = 8


class Measured(NamedTuple):
    """The losses of one run on one domain, in the order of their steps.

    Parameters
    ----------
    run, domain, step, loss
        What was measured.
    row
        The place of each loss in the table.
    scatter
        Standard deviation of the losses' noise, in nats.
    reach
        Difference of the highest and the lowest loss of a typical run on this domain.
    """

    run: str
    domain: str
    step: IntArray
    loss: FloatArray
    row: IntArray
    scatter: float = np.nan
    reach: float = np.nan

    def only(self, kept: NDArray[Any] | slice) -> "Measured":
        """Return some of the losses: an index, a mask or a slice."""
        return self._replace(step=self.step[kept], loss=self.loss[kept], row=self.row[kept])

    def at(self, step: int) -> float:
        """Return the loss at a step; NaN if it was not measured."""
        place = int(np.searchsorted(self.step, step))
        return float(self.loss[place]) if place < self.step.size and self.step[place] == step else np.nan


@lru_cache(maxsize=4)
def measured_curves(curves: Curves) -> Mapping[tuple[str, str], Measured]:
    """Return the measured curves by run and domain; kept, since each check needs them."""
    found = {}
    losses = curves.losses.reset_index(drop=True).sort_values("step", kind="stable")
    for (run, domain), rows in losses.groupby(["run", "domain"], sort=False):
        step, loss = rows["step"].to_numpy(np.int64), rows["loss"].to_numpy(np.float64)
        found[str(run), str(domain)] = Measured(str(run), str(domain), step, loss, rows.index.to_numpy())
    residuals = {key: residuals_of(curve.step, curve.loss) for key, curve in found.items()}
    together = _by_domain(residuals)
    reach = {
        name: float(np.median([np.ptp(curve.loss) for (_, d), curve in found.items() if d == name]))
        for name in together
    }
    return MappingProxyType(
        {
            key: curve._replace(scatter=_scatter(curve, residuals[key], together), reach=reach[curve.domain])
            for key, curve in found.items()
        }
    )


def _by_domain(residuals: Mapping[tuple[str, str], FloatArray]) -> dict[str, FloatArray]:
    domains = {domain for _, domain in residuals}
    return {name: np.concatenate([r for (_, domain), r in residuals.items() if domain == name]) for name in domains}


def _scatter(curve: Measured, own: FloatArray, together: Mapping[str, FloatArray]) -> float:
    used = own if own.size >= ENOUGH else together[curve.domain]
    noise = deviation(used) if used.size else float(np.ptp(curve.loss))
    return max(noise, _rounding(curve.loss), 1e-9)


def deviation(residuals: FloatArray) -> float:
    """Return the standard deviation of residuals, by their median: few large ones do not change it; 0 of none."""
    return NORMAL * float(np.median(np.abs(residuals))) if residuals.size else 0.0


def residuals_of(step: IntArray, loss: FloatArray) -> FloatArray:
    """Return how far each four neighbours are from a parabola, with the standard deviation of a loss's noise.

    The weights of the four are those of a divided difference, scaled to unit length, so they are 0 for any parabola.
    Losses fall fast at first, so the parabola may be over the steps, their root or their logarithm: the nearest counts.
    """
    if step.size < WINDOW:
        return np.empty(0)
    gap = max(float(np.median(np.diff(step))), 1.0)
    scales = (step.astype(float), np.sqrt(step), np.log(step + gap))
    residuals = np.stack([_third_differences(scale, loss) for scale in scales])
    return np.take_along_axis(residuals, np.abs(residuals).argmin(axis=0)[None], axis=0)[0]


def _third_differences(place: FloatArray, loss: FloatArray) -> FloatArray:
    places, losses = (sliding_window_view(values, WINDOW) for values in (place, loss))
    width = np.ptp(places, axis=1)[:, None, None]
    gaps = (places[:, :, None] - places[:, None, :]) / width + np.eye(WINDOW)
    weights = 1 / np.prod(gaps, axis=2)
    return (weights * losses).sum(axis=1) / np.linalg.norm(weights, axis=1)


def _rounding(loss: FloatArray) -> float:
    """Return half a unit of the last decimal that the losses have."""
    decimals = next((n for n in range(MOST_DECIMALS) if np.allclose(loss, loss.round(n), rtol=0, atol=1e-10)), None)
    return 0.0 if decimals is None else 0.5 * 10.0**-decimals


def some_pairs[T](items: Sequence[T]) -> Iterator[tuple[T, T]]:
    """Yield pairs of items in their order: all of few; of many, each with those that follow it and with both ends."""
    last = len(items) - 1
    for place, item in enumerate(items):
        for other in range(place + 1, len(items)):
            if other - place <= FOLLOWING or place == 0 or other == last:
                yield item, items[other]


def listed_end(curves: Curves, run: str) -> int:
    """Return the last step of a run's schedule, without an array of all steps."""
    return int(curves.listed_rates[run][0][-1])


def rates_at(curves: Curves, run: str, step: IntArray) -> FloatArray:
    """Return the LR of a run at some steps; at step 0 the last that its checkpoint was trained with, if it is known."""
    listed, rate = curves.listed_rates[run]
    rates, record = np.interp(step, listed, rate), curves.records[run]
    if record.parent in curves.listed_rates and record.parent_step > 0:
        rates[step == 0] = np.interp(record.parent_step, *curves.listed_rates[record.parent])
    return rates


def common_steps(curves: Curves, first: Measured, second: Measured) -> IntArray:
    """Return the steps at which two runs were measured and are one training, but for the data they see.

    They start from one checkpoint (or from scratch, with one model size), and had the same LRs until then.
    """
    one, two = curves.records[first.run], curves.records[second.run]
    same_size = one.model_size == two.model_size or (np.isnan(one.model_size) and np.isnan(two.model_size))
    if (one.phase, one.parent, one.parent_step) != (two.phase, two.parent, two.parent_step) or not same_size:
        return np.empty(0, np.int64)
    common = np.intersect1d(first.step, second.step)
    listed = np.union1d(curves.listed_rates[first.run][0], curves.listed_rates[second.run][0])
    rate, other = (rates_at(curves, curve.run, listed) for curve in (first, second))
    largest, apart = max(rate.max(), other.max()), np.abs(rate - other)
    if not rate.any() or not other.any():  # LRs that were rounded to 0 say nothing
        return np.empty(0, np.int64)
    differ = np.flatnonzero((apart > SAME_RATE * largest) | (apart > 0.1 * np.maximum(rate, other) + 1e-3 * largest))
    if differ.size:  # LRs are linear between the steps listed
        end = int(listed[differ[0] - 1]) if differ[0] else 0
    else:
        end = min(listed_end(curves, run) for run in (first.run, second.run))
    return common[(common > 0) & (common <= end)]
