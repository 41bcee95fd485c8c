"""Features, the inputs of laws: areas, replay ratio and learning rate (LR) at points of runs, and parents of runs.

A point is a run and one of its steps. Annealing areas are stored as rows of a memory kernel
(`bayes_cpt.laws.memory_kernels`), progress as rows over powers of the LR (`bayes_cpt.laws.areas.progress_rows`), so
their parameters can be sampled without a pass over all steps. Features are computed once, from the exact LR of every
step.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.errors import DataError
from bayes_cpt.laws.areas import forward_area, progress_rows, progress_weights
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, MemoryKernel
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.lineage import Phase, phases_of, steps_done, warmup_of

MILLION = 1e6
"""Unit of model size in the laws."""
ROUNDING = 1e-9
"""Smallest singular value of rows that counts, as a share of the largest."""
PROGRESS = ("progress_pt", "progress_cpt")
LONG_SINCE = 1e3
"""Value of ``warmups_since`` for a run without a PT warm-up, or with unknown pre-training."""
FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "progress_pt": "forward progress of pre-training (PT), LR x steps: S1_pt, or the sum of a power of the LR",
        "progress_cpt": "forward progress of continual pre-training (CPT), LR x steps",
        "forward_area_pt": "forward area S1_pt, LR x steps",
        "forward_area_cpt": "forward area S1_cpt, LR x steps",
        "annealing_area_pt": "annealing area S2_pt, LR x steps",
        "annealing_area_cpt": "annealing area S2_cpt, LR x steps",
        "warmup_area_pt": "part of the PT warm-up still to take effect, LR x steps; of kernels that count it",
        "jump_area_cpt": "S2_cpt of a jump of the largest LR at the transfer point, where the PT is not known",
        "replay_ratio": "share of D_pt in the data; 1 in PT",
        "own_share": "share of the domain's own data: the replay ratio on pt, 1 - replay ratio on cpt",
        "model_size": "parameters of the model, in millions",
        "length_cpt": "steps of CPT, at least 1",
        "peak_learning_rate_cpt": "largest LR of CPT so far over the largest in the data",
        "relative_learning_rate": "LR over the largest in the data",
        "warmups_since": "forward area since the PT warm-up, over that of the warm-up",
        "peak_learning_rate_pt": "largest LR of PT so far over the largest in the data",
    }
)
"""Every feature that a formula of a law may read, by the name of its argument. New ones go to the end: the fingerprints
of laws in fit files depend on the order."""


@dataclass(frozen=True)
class FittedRange:
    """The range of the fitted data: a law's sampled parameters refer to it, and bands open beyond it.

    All domains share it. Conversions of coefficients take its fields by name.

    Parameters
    ----------
    largest_forward_area
        Of both phases together, over all points (LR x steps).
    largest_forward_area_cpt
        The same of continual pre-training (CPT) alone; 1 if there is none.
    smallest_measured_forward_area, largest_measured_forward_area
        Of both phases together, over the points with a measured loss.
    largest_learning_rate
        Largest LR in the data.
    smallest_model_size, largest_model_size
        Millions of parameters; NaN if not given.
    batch_tokens
        Tokens of the reference step, in which areas are counted; NaN if not given.
    longest_cpt
        Most steps of CPT.
    longest_lineage
        Most reference steps of a run and its ancestors together.
    peaks_pt, peaks_cpt
        Different peaks of the LR in each phase, over the largest LR.
    replays_cpt
        Different replay ratios of CPT.
    """

    largest_forward_area: float
    largest_forward_area_cpt: float
    largest_learning_rate: float
    smallest_measured_forward_area: float = np.nan
    largest_measured_forward_area: float = np.nan
    smallest_model_size: float = np.nan
    largest_model_size: float = np.nan
    batch_tokens: float = np.nan
    longest_cpt: float = np.nan
    longest_lineage: float = np.nan
    peaks_pt: tuple[float, ...] = ()
    peaks_cpt: tuple[float, ...] = ()
    replays_cpt: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return its fields by name, as a fit file stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return a range from the dictionary of `to_dict`.

        Raises
        ------
        TypeError
            If a field is unknown, or one without a default is missing.
        """
        listed = ("peaks_pt", "peaks_cpt", "replays_cpt")
        return cls(**{**fields, **{name: tuple(map(float, fields[name])) for name in listed if name in fields}})


@dataclass(frozen=True)
class Design:
    """Points on runs, with their features.

    Parameters
    ----------
    runs
        Names, parents before children: the runs of the points and their ancestors.
    parent
        (runs,) Index of each run's parent; -1 for a run without one.
    is_cpt
        (runs,) Whether the run is continual pre-training.
    start
        (runs,) Index of the point at a run's start, its step 0.
    run, step
        (points,) Index of the run, and the step within it.
    features
        By name, (points,) each; progress and annealing areas are (rows, points), the latter over memory x ``peak``.
    peak
        The LR by which annealing areas and LRs are scaled.
    memory_kernel
        How drops of the LR take effect.
    """

    runs: tuple[str, ...]
    parent: IntArray
    is_cpt: NDArray[np.bool_]
    start: IntArray
    run: IntArray
    step: IntArray
    features: Mapping[str, FloatArray]
    peak: float
    memory_kernel: MemoryKernel

    @property
    def forward_area(self) -> FloatArray:
        """Forward area of both phases together, (points,)."""
        return self.features["forward_area_pt"] + self.features["forward_area_cpt"]

    def features_at(self, points: IntArray) -> dict[str, FloatArray]:
        """Return the features at some points."""
        return {name: values[..., points] for name, values in self.features.items()}

    def places(self, points: pd.DataFrame) -> IntArray:
        """Return the indices at which the design has points given as columns ``run`` and ``step``."""
        stride = int(self.step.max()) + 1
        keys = self.run * stride + self.step
        order = np.argsort(keys)
        wanted = _positions(points["run"], self.runs) * stride + points["step"].to_numpy(np.int64)
        return order[np.searchsorted(keys[order], wanted)]


def design(
    curves: Curves,
    points: pd.DataFrame,
    peak: float,
    memory_kernel: MemoryKernel = EXPONENTIAL,
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
    memory_kernel
        How drops of the LR take effect.
    batch_tokens
        Tokens of a reference step, in which areas are counted. Runs without ``batch_tokens`` are assumed to have as
        many per step.
    """
    runs = _with_ancestors(curves, points["run"].unique())
    asked = np.stack([_positions(points["run"], runs), points["step"].to_numpy(np.int64)], axis=1)
    starts = np.stack([np.arange(len(runs)), np.zeros(len(runs), np.int64)], axis=1)
    run, step = np.unique(np.concatenate([asked, starts]), axis=0).T
    found: dict[Hashable, dict[str, FloatArray]] = {}
    before: dict[Hashable, dict[str, FloatArray]] = {}
    by_run: list[dict[str, FloatArray]] = []
    for index, name in enumerate(runs):
        steps = step[run == index]
        line = curves.lineage(name)
        # runs that differ only in replay share their areas: a plan has many of them
        key = (line.checkpoint, curves.records[name].phase, curves.records[name].batch_tokens)
        key = (*key, id(line.learning_rate), steps.tobytes())
        if key not in found:
            segments = line.segments(batch_tokens)
            pretraining, continued = phases_of(segments)
            at_pt, at_cpt = steps_done(segments, steps)
            places, back = np.unique(at_pt, return_inverse=True)
            # runs that go on from one checkpoint have their pre-training in common
            pt_key = (line.transfer_checkpoint or name, places.tobytes())
            if pt_key not in before:
                before[pt_key] = _pretraining_features(pretraining, places, peak, memory_kernel)
            of_pretraining = {feature: values[..., back] for feature, values in before[pt_key].items()}
            found[key] = of_pretraining | _continued_features(
                pretraining, continued, at_cpt, peak, memory_kernel, jump_is_known=line.pretraining_is_known
            )
            found[key]["relative_learning_rate"] = _rates(pretraining, continued)[at_pt + at_cpt] / peak
        own = {
            "replay_ratio": np.full(steps.size, _replay_ratio(curves, name)),
            "model_size": np.full(steps.size, curves.records[name].model_size / MILLION),
        }
        by_run.append(found[key] | own)
    position = {name: index for index, name in enumerate(runs)}
    records = [curves.records[name] for name in runs]
    return Design(
        runs=tuple(runs),
        parent=np.array([-1 if record.parent is None else position[record.parent] for record in records]),
        is_cpt=np.array([record.phase == "cpt" for record in records]),
        start=np.searchsorted(run, np.arange(len(runs))),
        run=run,
        step=step,
        features={name: np.concatenate([part[name] for part in by_run], axis=-1) for name in by_run[0]},
        peak=peak,
        memory_kernel=memory_kernel,
    )


def _positions(names: pd.Series, runs: Sequence[str]) -> IntArray:
    position = {name: index for index, name in enumerate(runs)}
    codes, present = pd.factorize(names)
    return np.array([position[str(name)] for name in present], dtype=np.int64)[codes]


def with_areas(design: Design, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the features with progress and annealing areas for given parameters, in LR x steps.

    Parameters are those of the memory kernel, and ``forward_power``; without it, progress is the forward area. They
    may have leading dimensions (draws): the areas are then (..., points).
    """
    kernel = design.memory_kernel
    if not kernel.parameters:
        return dict(design.features)
    shape = {name: parameters[name] for name in kernel.parameters}
    of_annealing = kernel.weights(**shape) * parameters["memory"][..., None] * design.peak
    of_progress = progress_weights(parameters.get("forward_power", np.ones(())))
    return {
        name: (of_progress if name in PROGRESS else of_annealing) @ values if values.ndim == 2 else values
        for name, values in design.features.items()
    }


class Factored:
    """Rows (rows, points) as a product of two matrices with few columns and rows between them.

    Parameters
    ----------
    left, right
        (rows, rank) and (rank, points).
    """

    __array_ufunc__ = None  # NumPy leaves products with it to `__rmatmul__`
    ndim = 2

    def __init__(self, left: FloatArray, right: FloatArray) -> None:
        self.left, self.right = left, right

    def __rmatmul__(self, weights: Array) -> Array:
        """Return the weighted sums (..., points) of the rows for weights (..., rows)."""
        return (weights @ self.left) @ self.right


def factored(design: Design) -> Design:
    """Return a design whose rows are in factors where that takes half the arithmetic or less.

    Neighbouring rows are nearly alike. What is left out is below ``ROUNDING`` of the largest singular value.
    """
    return replace(design, features={name: _factors(values) for name, values in design.features.items()})


def _factors(values: FloatArray) -> Any:
    if values.ndim < 2:
        return values
    if not values.any():
        return Factored(np.zeros((len(values), 0)), np.zeros((0, values.shape[1])))
    left, size, right = np.linalg.svd(values, full_matrices=False)
    rank = int((size > ROUNDING * size[0]).sum())
    if 2 * rank * sum(values.shape) > values.size:
        return values
    return Factored(left[:, :rank] * size[:rank], right[:rank])


def _with_ancestors(curves: Curves, names: np.ndarray) -> list[str]:
    ordered: dict[str, None] = {}
    for name in map(str, names):
        ordered |= dict.fromkeys(curves.lineage(name).runs)
    return list(ordered)


def _pretraining_features(
    phase: Phase, position: IntArray, peak: float, memory_kernel: MemoryKernel
) -> dict[str, FloatArray]:
    """Return the features of pre-training (PT) after so many of its steps."""
    area, warmup_rows = forward_area(phase), memory_kernel.warmup_rows
    return {
        # S1^-alpha has no value at 0: a run from scratch is treated as if it had made one step at the peak
        "forward_area_pt": np.maximum(area[position], peak),
        "progress_pt": np.maximum(progress_rows(phase, position, peak), peak),
        "warmups_since": _warmups_since(area, phase.warmup)[position],
        "peak_learning_rate_pt": peak_learning_rate(phase, peak)[position],
        "annealing_area_pt": memory_kernel.rows(phase, position, peak),
        **({} if warmup_rows is None else {"warmup_area_pt": warmup_rows(phase, position, peak)}),
    }


def _continued_features(
    pretraining: Phase,
    phase: Phase,
    position: IntArray,
    peak: float,
    memory_kernel: MemoryKernel,
    *,
    jump_is_known: bool,
) -> dict[str, FloatArray]:
    """Return the features of continual pre-training (CPT) after so many of its steps."""
    annealing, of_jump = memory_kernel.rows_of_cpt(pretraining, phase, position, peak, jump_is_known=jump_is_known)
    return {
        "progress_cpt": progress_rows(phase, position, peak),
        "forward_area_cpt": forward_area(phase)[position],
        # a law of finished runs has no value before the first step
        "length_cpt": np.maximum(np.concatenate([[0.0], np.cumsum(phase.tokens)]), 1.0)[position],
        "peak_learning_rate_cpt": peak_learning_rate(phase, peak)[position],
        "annealing_area_cpt": annealing,
        "jump_area_cpt": of_jump,
    }


def _rates(pretraining: Phase, continued: Phase) -> FloatArray:
    """Return the LR used after 0, 1, ... steps of both phases; at 0, the first."""
    rates = np.concatenate([pretraining.learning_rate, continued.learning_rate])
    return np.append(rates[:1], rates)


def _warmups_since(forward_area_pt: FloatArray, warmup: int) -> FloatArray:
    """Forward area since the end of the PT warm-up, over that of the warm-up, after 0, 1, ... steps of PT."""
    own = forward_area_pt[warmup]
    return np.maximum(forward_area_pt / own - 1, 0.0) if own > 0 else np.full(forward_area_pt.size, LONG_SINCE)


def peak_learning_rate(phase: Phase, peak: float) -> FloatArray:
    """Largest relative LR of a phase after 0, 1, ... steps; during a warm-up, the LR at its end.

    Otherwise the first steps of a warm-up would count as runs with a low peak. It is at least a millionth, also if the
    LR starts at 0.
    """
    rates = phase.learning_rate / peak
    if not rates.size:
        return np.ones(1)
    rising = warmup_of(rates)
    reached = np.maximum.accumulate(np.append(np.full(rising, rates[:rising].max()), rates[rising:]))
    return np.maximum(np.append(reached[:1], reached), 1e-6)


def _replay_ratio(curves: Curves, run: str) -> float:
    """Share of D_pt in the run's data: 1 in PT, where all of it is D_pt."""
    record = curves.records[run]
    if record.phase == "pt":
        return 1.0
    if np.isnan(record.replay):
        raise DataError(f"run {run!r} is a CPT run without a replay ratio: give it one in [0, 1] in runs.csv")
    return record.replay
