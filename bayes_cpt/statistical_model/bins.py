"""Measured losses averaged in bins of neighbouring points, between which the law is near straight.

A curve of thousands of losses says little more of a law than some dozen averages. The density of a mean of n losses is
that of one loss with the noise's variance over n. How the losses scatter within their bin informs the noise alone, and
enters the density as a sum of squares. Both are exact where the law is a straight line and the noise constant in each
bin. docs/lab-log/engine.md has what this costs on curves.

Fits use bins; forecasts, scores and predictive checks use the measured points.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.laws.features import Design
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.discrepancy import Evaluation

POINTS = 512
"""Number of points of all runs together, about: what a gradient costs grows with it."""
FEWEST, MOST = 32, 128
"""Bounds of a run's share of them: it is averaged if it has more losses, and its bins are not divided further then."""
LEAST = 8
"""Smallest number of losses in a bin: the line through them takes one in so many from what informs the noise."""
STRAIGHT = 1e-3
"""Distance from a straight line, as a share of the loss, that is not divided further."""
AREA = 0.3
"""The same for logs of forward areas, on which the misfit of the law depends."""
NOISE = 0.1
"""The same for the log of the noise's standard deviation."""
TYPICAL = 0.8
"""Share of the draws from the prior for which the law must be near straight: extreme draws bend anywhere."""


type Curves = tuple[FloatArray, FloatArray]
"""What must be near straight within a bin, and what must be near level, (curves, draws, points) each."""


type Segment = tuple[float, int, int, int]
"""Minus the largest distance from a straight line, the first point, where to divide, and the end."""


@dataclass(frozen=True)
class Bins:
    """The measured losses of one domain, averaged in bins.

    Parameters
    ----------
    design
        The points: one per bin, with mean features, and the starts of all runs.
    member
        (measured,) Index of each measured loss's bin among the points.
    count
        (points,) Number of losses in each bin; 0 at a start that was not measured.
    loss
        (points,) Mean of the losses, nats; 0 where there are none.
    scatter
        (points,) Sum of squares of the losses about a straight line over their steps.
    freedom
        (points,) Degrees of freedom of ``scatter``.
    """

    design: Design
    member: IntArray
    count: FloatArray
    loss: FloatArray
    scatter: FloatArray
    freedom: FloatArray

    @property
    def data(self) -> dict[str, FloatArray]:
        """What the density of the losses needs, by name."""
        return {"count": self.count, "loss": self.loss, "scatter": self.scatter, "freedom": self.freedom}

    def only(self, kept: NDArray[np.bool_]) -> "Bins":
        """Keep the bins of which all measured losses (measured,) are kept; the points stay as they are."""
        whole = np.ones(len(self.count))
        whole[self.member[~kept]] = 0.0
        of_data = {name: values * whole for name, values in self.data.items()}
        return replace(self, **of_data)


def binned(
    design: Design, places: IntArray, losses: FloatArray, curves: Curves, holdouts: Sequence[Holdout] = ()
) -> Bins:
    """Average the measured losses of a domain in bins.

    Parameters
    ----------
    design
        The points, ordered by run and step.
    places
        (measured,) Indices of the measured points in it.
    losses
        (measured,) Measured losses there, nats.
    curves
        (draws, points) each: what must be near straight within a bin, in units of the distance allowed; see
        `bending_curves`.
    holdouts
        Parts of the runs that will be left out of fits: bins end where they begin.
    """
    cut = np.array([holdout.first_steps(design.runs) for holdout in holdouts], dtype=np.int64)
    cut = cut.reshape(-1, len(design.runs))
    label = np.empty(len(places), dtype=np.int64)  # of each measured loss: the first of its bin
    most = int(np.clip(POINTS // len(np.unique(design.run[places])), FEWEST, MOST))
    for run in range(len(design.runs)):
        here = np.flatnonzero(design.run[places] == run)
        steps = design.step[places[here]]
        ends = _ends(
            steps, (curves[0][..., places[here]], curves[1][..., places[here]]), _parts(steps, cut[:, run]), most
        )
        label[here] = here[np.repeat(ends[:-1], np.diff(ends))]
    _, bin_of = np.unique(label, return_inverse=True)
    return _averaged(design, places, losses, bin_of)


def _averaged(design: Design, places: IntArray, losses: FloatArray, bin_of: IntArray) -> Bins:
    """Return the bins, and the starts of runs that were not measured as points of their own."""
    bins, starts = int(bin_of.max()) + 1, np.setdiff1d(design.start, places)
    group = np.concatenate([bin_of, bins + np.arange(len(starts))])
    size = np.bincount(group).astype(float)
    everything = np.concatenate([places, starts])

    def mean(values: FloatArray) -> FloatArray:
        rows = np.atleast_2d(values[..., everything])
        sums = np.array([np.bincount(group, row) for row in rows])
        return (sums / size).reshape(*values.shape[:-1], -1)

    run, step = (np.rint(mean(values.astype(float))).astype(np.int64) for values in (design.run, design.step))
    order = np.lexsort((step, run))
    rank = np.argsort(order)
    points = replace(
        design,
        run=run[order],
        step=step[order],
        start=rank[_start_groups(design, places, starts, group)],
        features={name: mean(values)[..., order] for name, values in design.features.items()},
    )
    empty = np.zeros(len(starts))
    count = np.bincount(bin_of, minlength=bins).astype(float)
    mean_loss = np.bincount(bin_of, losses) / count
    scatter = _scatter(design.step[places].astype(float), losses, bin_of, count)
    data = (count, mean_loss, scatter, np.maximum(count - 2, 0.0))
    return Bins(points, rank[bin_of], *(np.concatenate([values, empty])[order] for values in data))


def _start_groups(design: Design, places: IntArray, starts: IntArray, group: IntArray) -> IntArray:
    """Return the group of the point at each run's start."""
    of_point = np.full(len(design.run), -1)
    of_point[np.concatenate([places, starts])] = group
    return of_point[design.start]


def _scatter(steps: FloatArray, losses: FloatArray, bin_of: IntArray, count: FloatArray) -> FloatArray:
    """Return the sums of squares about straight lines, by bin."""

    def centred(values: FloatArray) -> FloatArray:
        return values - (np.bincount(bin_of, values) / count)[bin_of]

    step, loss = centred(steps), centred(losses)
    spread = np.bincount(bin_of, step**2)
    slope = np.bincount(bin_of, step * loss) / np.where(spread > 0, spread, 1.0)
    return np.where(count > 2, np.bincount(bin_of, (loss - slope[bin_of] * step) ** 2), 0.0)


def _parts(steps: IntArray, cuts: IntArray) -> IntArray:
    """Return where the parts of a run's points begin, and their number: its start, and what begins at a cut."""
    return np.unique([0, *np.searchsorted(steps, [1, *cuts]), len(steps)])


def _ends(steps: IntArray, curves: Curves, parts: IntArray, most: int) -> IntArray:
    """Return where bins of one run's measured points begin, and their number: 0, ..., points.

    Bins are divided where a curve is farthest from a straight line, the most bent bin first. No bin extends over two
    parts. Points of a bin that would be small stand alone.
    """
    if len(steps) <= most:
        return np.arange(len(steps) + 1)
    segments = [_bend(steps, curves, start, end) for start, end in pairwise(parts)]
    heapq.heapify(segments)
    whole, points = [], sum(_points(segment) for segment in segments)
    while segments and points < most and -segments[0][0] > 1:
        segment = heapq.heappop(segments)
        if _points(segment) > 1:
            whole.append(segment)
            continue
        _, start, middle, end = segment
        divided = [_bend(steps, curves, start, middle), _bend(steps, curves, middle, end)]
        points += sum(map(_points, divided)) - 1
        for each in divided:
            heapq.heappush(segments, each)
    starts = [np.arange(start, end) if end - start < LEAST else [start] for _, start, _, end in (*whole, *segments)]
    return np.sort(np.concatenate([*starts, [len(steps)]]))


def _points(segment: Segment) -> int:
    """Return how many points a segment becomes: one, or its own if a line through them would take up too much."""
    _, start, _, end = segment
    return end - start if end - start < LEAST else 1


def _bend(steps: IntArray, curves: Curves, start: int, end: int) -> Segment:
    """Return a segment of a run's points."""
    if end - start < 2:
        return 0.0, start, end, end
    place = (steps[start:end] - steps[start]) / (steps[end - 1] - steps[start])
    straight, level = (values[..., start:end] for values in curves)
    line = straight[..., :1] + (straight[..., -1:] - straight[..., :1]) * place
    bent = _typical(np.abs(straight - line))
    middle = (level.max(axis=-1) + level.min(axis=-1))[..., None] / 2
    uneven = _typical(np.abs(level - middle))
    # what a mean may be off by is less, the more losses it has
    weight = np.sqrt((end - start) / LEAST)
    if bent.max() > uneven.max():
        return -float(weight * bent.max()), start, start + max(int(bent.argmax()), 1), end
    # divide where a changing level is halfway
    rise = np.abs(np.diff(level, axis=-1)).sum(axis=(0, 1)).cumsum()
    return -float(weight * uneven.max()), start, start + 1 + int(np.searchsorted(rise, rise[-1] / 2)), end


def _typical(distance: FloatArray) -> FloatArray:
    """Return the largest distance (points,) of several curves (curves, draws, points) in a typical draw."""
    return np.sort(distance, axis=1)[:, int(TYPICAL * (distance.shape[1] - 1))].max(axis=0)


def bending_curves(evaluation: Evaluation, loss_scale: float) -> Curves:
    """Return what must be near straight or level within a bin, in units of the distance allowed.

    Parameters
    ----------
    evaluation
        The law at the points of a design, for draws from the prior.
    loss_scale
        A typical loss, nats.
    """
    terms, shape = evaluation.terms, np.shape(evaluation.terms.loss)
    straight = [np.broadcast_to(term, shape) / (STRAIGHT * loss_scale) for term in terms]
    areas = [evaluation.log_forward_area / AREA, evaluation.log_forward_area_cpt / AREA]
    noise = np.log(evaluation.noise_variance) / (2 * NOISE)
    return np.array(straight), np.array([np.broadcast_to(values, shape) for values in (*areas, noise)])
