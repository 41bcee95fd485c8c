"""What the laws read of a run: areas, replay ratio and learning rate (LR) at asked points, and who descends from whom.

Annealing areas are held on a grid of memories and interpolated at the memory asked for, so that a sampler may vary the
memory without walking through the steps. All of it is static: computed once, from the exact LR of every step.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt.areas import FloatArray, IntArray, Segment, areas, jump_response
from bayes_cpt.curves import Curves, ancestors, lineage
from bayes_cpt.errors import DataError
from bayes_cpt.laws import Array

MEMORIES: FloatArray = np.geomspace(1, 200_000, 48)
"""Grid of the annealing's memory in steps. Interpolation on it is right to about 1e-4 of the annealing term."""


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
        By name, (nodes,) each; annealing areas are (memories, nodes), in units of memory x ``peak``.
    peak
        The LR by which annealing areas and LRs are scaled.
    """

    runs: tuple[str, ...]
    parent: IntArray
    is_cpt: NDArray[np.bool_]
    start: IntArray
    run: IntArray
    step: IntArray
    features: Mapping[str, FloatArray]
    peak: float

    def nodes(self, points: pd.DataFrame) -> IntArray:
        """Return the nodes of points given as columns ``run`` and ``step``."""
        stride = int(self.step.max()) + 1
        keys = self.run * stride + self.step
        order = np.argsort(keys)
        wanted = _positions(points["run"], self.runs) * stride + points["step"].to_numpy(np.int64)
        return order[np.searchsorted(keys[order], wanted)]


def design(curves: Curves, points: pd.DataFrame, peak: float) -> Design:
    """Compute the features at ``points`` and at the starts of all runs involved.

    Parameters
    ----------
    curves
        Runs and their LRs.
    points
        Columns ``run`` and ``step``; repeated rows count once.
    peak
        LR by which areas and LRs are scaled.
    """
    runs = _with_ancestors(curves, points["run"].unique())
    asked = np.stack([_positions(points["run"], runs), points["step"].to_numpy(np.int64)], axis=1)
    starts = np.stack([np.arange(len(runs)), np.zeros(len(runs), np.int64)], axis=1)
    run, step = np.unique(np.concatenate([asked, starts]), axis=0).T
    found: dict[Hashable, dict[str, FloatArray]] = {}
    by_run: list[dict[str, FloatArray]] = []
    for index, name in enumerate(runs):
        steps = step[run == index]
        key = (_schedule_key(curves, name), steps.tobytes())
        if key not in found:
            found[key] = _schedule_features(curves, name, steps, peak)
        by_run.append(found[key] | {"replay_ratio": np.full(steps.size, _replay_ratio(curves, name))})
    position = {name: index for index, name in enumerate(runs)}
    links = [curves.links[name] for name in runs]
    return Design(
        runs=tuple(runs),
        parent=np.array([-1 if link.parent is None else position[link.parent] for link in links]),
        is_cpt=np.array([link.phase == "cpt" for link in links]),
        start=np.searchsorted(run, np.arange(len(runs))),
        run=run,
        step=step,
        features={name: np.concatenate([part[name] for part in by_run], axis=-1) for name in by_run[0]},
        peak=peak,
    )


def _positions(names: pd.Series, runs: Sequence[str]) -> IntArray:
    position = {name: index for index, name in enumerate(runs)}
    codes, present = pd.factorize(names)
    return np.array([position[str(name)] for name in present], dtype=np.int64)[codes]


def _schedule_key(curves: Curves, run: str) -> Hashable:
    """Equal for runs that differ in replay alone: a plan has many of them, and their areas are computed once."""
    link = curves.links[run]
    step, rate = curves.listed_rates[run]
    return link.phase, link.parent, link.parent_step, step.tobytes(), rate.tobytes()


def at_memory(design: Design, memory: Array) -> dict[str, Array]:
    """Return the features with the annealing areas at one memory (steps), in LR x steps.

    ``memory`` may carry leading dimensions (draws): the areas then are (..., nodes).
    """
    weights = memory_weights(memory) * memory[..., None] * design.peak
    return {name: weights @ values if values.ndim == 2 else values for name, values in design.features.items()}


def memory_weights(memory: Array) -> Array:
    """Weights (..., memories) that interpolate on ``MEMORIES``: cubic convolution in log memory (Keys 1981).

    Written with operators and ufuncs alone, so that it serves NumPy and PyTensor. Beyond the grid the nearest
    interior value is used.
    """
    spacing = np.log(MEMORIES[1] / MEMORIES[0])
    place = np.log(memory / MEMORIES[0]) / spacing
    first, last = 1.0, MEMORIES.size - 2.0
    place = first + _positive_part(place - first) - _positive_part(place - last)
    distance = np.abs(place[..., None] - np.arange(MEMORIES.size))
    near, far = _positive_part(1 - distance), _positive_part(2 - distance)
    return 0.5 * far**3 - 0.5 * far**2 - 2 * near**3 + near**2


def _positive_part(values: Array) -> Array:
    """Written without ``np.maximum``, which PyTensor does not take part in."""
    return 0.5 * (values + np.abs(values))


def warmup_steps(curves: Curves, run: str) -> int:
    """Steps of a run's own PT warm-up: the stretch of strictly rising LR at the start of a run from scratch."""
    parts = lineage(curves, run)
    if len(parts) > 1 or parts[0].phase != "pt":
        return 0
    return int(np.argmin(np.append(np.diff(parts[0].learning_rate) > 0, False))) + 1


def _with_ancestors(curves: Curves, names: np.ndarray) -> list[str]:
    ordered: dict[str, None] = {}
    for name in map(str, names):
        ordered |= dict.fromkeys([*ancestors(curves, name), name])
    return list(ordered)


def _schedule_features(curves: Curves, run: str, steps: IntArray, peak: float) -> dict[str, FloatArray]:
    parts = lineage(curves, run)
    area = areas(parts, steps, MEMORIES)
    annealing_cpt, jump = area.annealing_cpt, np.zeros_like(area.annealing_cpt)
    if parts[0].phase == "cpt":
        response = jump_response(steps + _steps_before(parts), MEMORIES)
        annealing_cpt = annealing_cpt - parts[0].learning_rate[0] * response
        jump = response * peak
    return {
        # S1^-alpha has no value at 0: a run from scratch is read as if it had had one step at the peak
        "forward_area_pt": np.maximum(area.forward_pt, peak),
        "forward_area_cpt": area.forward_cpt,
        "mean_learning_rate_cpt": _mean_learning_rate(parts, steps, peak),
        "annealing_area_pt": (area.annealing_pt / (MEMORIES * peak)).T,
        "annealing_area_cpt": (annealing_cpt / (MEMORIES * peak)).T,
        "jump_area_cpt": (jump / (MEMORIES * peak)).T,
        "relative_learning_rate": area.learning_rate / peak,
    }


def _mean_learning_rate(parts: list[Segment], steps: IntArray, peak: float) -> FloatArray:
    """Mean relative LR of CPT so far, weighted by the LR itself; 1 before its first step.

    A millionth keeps it above 0 where the LR is 0 from the start.
    """
    rates = [part.learning_rate for part in parts if part.phase == "cpt"]
    if not rates:
        return np.ones(steps.size)
    used = np.concatenate([[0.0], *rates]) / peak
    forward, squared = np.cumsum(used) + 1e-6, np.cumsum(used**2) + 1e-6
    return (squared / forward)[steps + sum(rate.size for rate in rates[:-1])]


def _steps_before(parts: list[Segment]) -> int:
    return sum(part.learning_rate.size for part in parts[:-1])


def _replay_ratio(curves: Curves, run: str) -> float:
    """Share of D_pt in the run's data: 1 in PT, where all of it is D_pt."""
    link = curves.links[run]
    if link.phase == "pt":
        return 1.0
    if np.isnan(link.replay):
        raise DataError(f"run {run!r} is a CPT run without a replay ratio: give it one in [0, 1] in runs.csv")
    return link.replay
