"""What the laws read of a run: areas, replay ratio and learning rate (LR) at asked points, and who descends from whom.

Annealing areas are kept as rows of a memory kernel (`bayes_cpt.laws.memory_kernels`), progress as rows over powers of
the LR (`bayes_cpt.laws.forward_progress`), so that a sampler may vary their parameters without walking through the
steps. All of it is static: computed once, from the exact LR of every step.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.errors import DataError
from bayes_cpt.laws.areas import forward_area
from bayes_cpt.laws.forward_progress import progress_rows, progress_weights
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, Response
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.lineage import Phase, Segment, phases_of, steps_done, warmup_of

MILLION = 1e6
"""The laws count parameters of a model in millions."""
PROGRESS = ("progress_pt", "progress_cpt")
LONG_SINCE = 1e3
"""Warm-ups since the own one, of a run whose pre-training is not known."""


@dataclass(frozen=True)
class Design:
    """Points on runs, with all that is static about them.

    Parameters
    ----------
    runs
        Names, parents before children: the runs of the points and their ancestors.
    parent
        (runs,) Index of each run's parent; -1 for a run without one.
    is_cpt
        (runs,) Whether the run is continual pre-training.
    start
        (runs,) Node at which a run starts: its step 0.
    run, step
        (nodes,) Index of the run, and the step within it.
    features
        By name, (nodes,) each; progress and annealing areas are (rows, nodes), the latter over memory x ``peak``.
    peak
        The LR by which annealing areas and LRs are scaled.
    response
        How drops of the LR come into effect.
    """

    runs: tuple[str, ...]
    parent: IntArray
    is_cpt: NDArray[np.bool_]
    start: IntArray
    run: IntArray
    step: IntArray
    features: Mapping[str, FloatArray]
    peak: float
    response: Response

    def nodes(self, points: pd.DataFrame) -> IntArray:
        """Return the nodes of points given as columns ``run`` and ``step``."""
        stride = int(self.step.max()) + 1
        keys = self.run * stride + self.step
        order = np.argsort(keys)
        wanted = _positions(points["run"], self.runs) * stride + points["step"].to_numpy(np.int64)
        return order[np.searchsorted(keys[order], wanted)]


def design(
    curves: Curves,
    points: pd.DataFrame,
    peak: float,
    response: Response = EXPONENTIAL,
    batch_tokens: float = np.nan,
) -> Design:
    """Compute the features at ``points`` and at the starts of all runs involved.

    Parameters
    ----------
    curves
        Runs and their LRs.
    points
        Columns ``run`` and ``step``; repeated rows count once.
    peak
        LR by which areas and LRs are scaled.
    response
        How drops of the LR come into effect.
    batch_tokens
        Tokens of a reference step: areas count such steps. Runs whose ``batch_tokens`` is not given are taken to have
        as many.
    """
    runs = _with_ancestors(curves, points["run"].unique())
    asked = np.stack([_positions(points["run"], runs), points["step"].to_numpy(np.int64)], axis=1)
    starts = np.stack([np.arange(len(runs)), np.zeros(len(runs), np.int64)], axis=1)
    run, step = np.unique(np.concatenate([asked, starts]), axis=0).T
    found: dict[Hashable, dict[str, FloatArray]] = {}
    by_run: list[dict[str, FloatArray]] = []
    for index, name in enumerate(runs):
        steps = step[run == index]
        line = curves.lineage(name)
        # runs that differ in replay alone share their areas: a plan has many of them
        key = (line.checkpoint, curves.records[name].phase, curves.records[name].batch_tokens)
        key = (*key, id(line.learning_rate), steps.tobytes())
        if key not in found:
            found[key] = _schedule_features(line.segments(batch_tokens), steps, peak, response)
        own = {
            "replay_ratio": np.full(steps.size, _replay_ratio(curves, name)),
            "model_size": np.full(steps.size, curves.records[name].model_size / MILLION),
        }
        by_run.append(found[key] | own)
    position = {name: index for index, name in enumerate(runs)}
    links = [curves.records[name] for name in runs]
    return Design(
        runs=tuple(runs),
        parent=np.array([-1 if link.parent is None else position[link.parent] for link in links]),
        is_cpt=np.array([link.phase == "cpt" for link in links]),
        start=np.searchsorted(run, np.arange(len(runs))),
        run=run,
        step=step,
        features={name: np.concatenate([part[name] for part in by_run], axis=-1) for name in by_run[0]},
        peak=peak,
        response=response,
    )


def _positions(names: pd.Series, runs: Sequence[str]) -> IntArray:
    position = {name: index for index, name in enumerate(runs)}
    codes, present = pd.factorize(names)
    return np.array([position[str(name)] for name in present], dtype=np.int64)[codes]


def with_areas(design: Design, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the features with progress and annealing areas for given parameters, in LR x steps.

    Parameters are those of the response, and ``forward_power``, without which progress is the forward area. They may
    carry leading dimensions (draws): the areas then are (..., nodes).
    """
    if "memory" not in design.response.parameters:
        return dict(design.features)
    of_response = {name: parameters[name] for name in design.response.parameters}
    of_annealing = design.response.weights(**of_response) * parameters["memory"][..., None] * design.peak
    of_progress = progress_weights(parameters.get("forward_power", np.ones(())))
    return {
        name: (of_progress if name in PROGRESS else of_annealing) @ values if values.ndim == 2 else values
        for name, values in design.features.items()
    }


def _with_ancestors(curves: Curves, names: np.ndarray) -> list[str]:
    ordered: dict[str, None] = {}
    for name in map(str, names):
        ordered |= dict.fromkeys(curves.lineage(name).runs)
    return list(ordered)


def _schedule_features(parts: list[Segment], steps: IntArray, peak: float, response: Response) -> dict[str, FloatArray]:
    pretraining, continued = phases_of(parts)
    at_pt, at_cpt = steps_done(parts, steps)
    first = np.zeros_like(continued.drop)
    if parts[0].phase == "cpt":
        # the LR before is not known: what it adds to the drop of the first step is a column of its own
        first[0] = 1.0
        continued = continued._replace(drop=continued.drop - continued.learning_rate[0] * first)
    rates = np.concatenate([pretraining.learning_rate, continued.learning_rate])
    warmup = {"warmup_area_pt": response.warmup_rows(pretraining, at_pt, peak)} if response.warmup_rows else {}
    forward_pt = forward_area(pretraining)
    return warmup | {
        # S1^-alpha has no value at 0: a run from scratch is read as if it had had one step at the peak
        "forward_area_pt": np.maximum(forward_pt[at_pt], peak),
        "progress_pt": np.maximum(progress_rows(pretraining, at_pt, peak), peak),
        "progress_cpt": progress_rows(continued, at_cpt, peak),
        "warmups_since": _warmups_since(forward_pt, pretraining.warmup)[at_pt],
        "forward_area_cpt": forward_area(continued)[at_cpt],
        # a law of finished runs has no value before the first step
        "length_cpt": np.maximum(np.concatenate([[0.0], np.cumsum(continued.tokens)]), 1.0)[at_cpt],
        "peak_learning_rate_cpt": peak_learning_rate(continued, peak)[at_cpt],
        "annealing_area_pt": response.rows(pretraining, at_pt, peak),
        "annealing_area_cpt": response.rows(continued, at_cpt, peak),
        "jump_area_cpt": response.rows(continued._replace(drop=peak * first), at_cpt, peak),
        "relative_learning_rate": rates[np.maximum(at_pt + at_cpt - 1, 0)] / peak,
    }


def _warmups_since(forward_area_pt: FloatArray, warmup: int) -> FloatArray:
    """Forward area since the end of the PT warm-up, over that of the warm-up, after 0, 1, ... steps of PT."""
    own = forward_area_pt[warmup]
    return np.maximum(forward_area_pt / own - 1, 0.0) if own > 0 else np.full(forward_area_pt.size, LONG_SINCE)


def peak_learning_rate(continued: Phase, peak: float) -> FloatArray:
    """Largest relative LR of CPT so far after 0, 1, ... steps; from its first step on, that to which it warms up.

    The warm-up would tell of the first steps alone what is read as a property of the peak. A millionth keeps it above 0
    where the LR is 0 from the start.
    """
    rates = continued.learning_rate / peak
    if not rates.size:
        return np.ones(1)
    rising = warmup_of(rates)
    reached = np.maximum.accumulate(np.append(np.full(rising, rates[:rising].max()), rates[rising:]))
    return np.maximum(np.append(reached[:1], reached), 1e-6)


def _replay_ratio(curves: Curves, run: str) -> float:
    """Share of D_pt in the run's data: 1 in PT, where all of it is D_pt."""
    link = curves.records[run]
    if link.phase == "pt":
        return 1.0
    if np.isnan(link.replay):
        raise DataError(f"run {run!r} is a CPT run without a replay ratio: give it one in [0, 1] in runs.csv")
    return link.replay
