"""Structured discrepancy: how whole runs depart from the law, beyond measurement noise.

The loss of a run is law + discrepancy + noise. The discrepancy is a sum of Gaussian effects. Each effect multiplies a
column, which is zero at points that the effect does not concern:

- ``smooth``: the law's own misfit over log forward area, common to all runs (Matern-3/2, by its leading modes), and
  a slope that is 0 on the data and opens the band beyond them;
- ``warmup``: the misfit of the power law just after the PT warm-up, common to all runs; it disappears after a few
  times the warm-up's forward area;
- ``size``: 0 for the fitted model sizes, growing with each e-fold of size beyond them;
- ``peak``: 0 for the fitted peaks of the learning rate (LR), growing with each e-fold to the nearest of them, in
  pre-training and in continual pre-training apart;
- ``offset``: a run from scratch as a whole lies a little above or below the law;
- ``annealing``: a run's annealing is a little larger or smaller than the law's; the difference grows beyond the data;
- ``annealing_by_replay``: the same, 0 at fitted replay ratios and further at ratios unlike them;
- ``shift``: a run's distribution shift is a little larger or smaller than the law's;
- ``transfer``: after its transfer point a run lies above or below the law, further at replay ratios unlike fitted ones;
- ``shape``: the shift's own misfit over log forward area of continual pre-training, common to all runs.

A child inherits the discrepancy of its parent at the branch, and its own effects act after the branch, so its
discrepancy starts at the parent's. Given the law's parameters all effects are Gaussian, and the likelihood integrates
them out exactly (Woodbury's identity), at a cost linear in the points. docs/lab-log/discrepancy.md has the evidence.
Everything here runs on NumPy, with leading dimensions for draws, and on PyTensor.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayes_cpt._support.registry import Registry
from bayes_cpt._support.smooth_process import smooth_modes
from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.errors import SpecError
from bayes_cpt.laws.features import Design, FittedRange
from bayes_cpt.laws.law import Law, Terms
from bayes_cpt.runs.identifiability import SAME_PEAK

SMOOTH_LENGTH = 1.5
"""Length of the smooth processes, in e-folds of forward area."""
SMOOTH_MODES = 10
WARMUP_RATES = np.array([1.0, 2.0, 4.0])
"""Rates at which the misfit after the warm-up fades, per forward area of the warm-up."""
SHAPE_RANGE = (-6.0, 1.0)
"""Logs of the forward area of continual pre-training, over its largest, between which the shift's shape may vary."""
SHAPE_MODES = 8
EXTRAPOLATION = 2.0
"""E-folds of forward area beyond the data over which the smooth process is still defined; it stays constant there."""
SETTLING = 0.05
"""Share of the longest continual pre-training (CPT) after which half of an effect of a run or its peak is reached."""
SMALL_SHARE = 0.1
"""Shares of a domain's data below this are alike."""
OPENING = 1.5
"""Growth of the law's misfit per e-fold of forward area beyond the data, as a multiple of its size."""


@dataclass(frozen=True)
class Evaluation:
    """A domain's law and noise at the points of a design, from which the columns of effects are computed.

    Parameters
    ----------
    design
        The points.
    terms
        The law's terms, (..., points) each.
    noise_variance
        (..., points).
    fitted_range
        The range of the fitted data.
    """

    design: Design
    terms: Terms
    noise_variance: Array
    fitted_range: FittedRange

    @property
    def law(self) -> Array:
        """The loss that the law predicts, (..., points)."""
        return self.terms.loss

    @cached_property
    def log_forward_area(self) -> FloatArray:
        """(points,) Log of the forward area over the largest in the fitted data."""
        area = np.maximum(self.design.forward_area, self.design.peak)
        return np.log(area / self.fitted_range.largest_forward_area)

    @cached_property
    def log_forward_area_cpt(self) -> FloatArray:
        """(points,) Log of the forward area of continual pre-training over the largest in the fitted data."""
        area = np.maximum(self.design.features["forward_area_cpt"], self.design.peak)
        return np.log(area / self.fitted_range.largest_forward_area_cpt)


def suits_curves(law: Law) -> bool:
    """Whether a law describes whole curves."""
    return not law.is_final


def suits_known_curves(law: Law) -> bool:
    """Whether a law describes whole curves with known pre-training, so that their forward area is known."""
    return not law.is_final and law.knows_checkpoint


def suits_shifted_curves(law: Law) -> bool:
    """Whether a law describes whole curves of continual pre-training."""
    return not law.is_final and law.has_shift


def suits_sizes(law: Law) -> bool:
    """Whether a law describes several model sizes."""
    return law.has_size


@dataclass(frozen=True)
class Component:
    """One kind of effect: a component of the discrepancy.

    Parameters
    ----------
    columns
        From an `Evaluation` to the change of the loss by effects of size 1, (..., effects, points). It runs on NumPy,
        with leading dimensions for draws, and on PyTensor. The effects' scale has the unit of a loss (nats) if the
        columns are dimensionless.
    runs
        From a design to the indices of the runs with an effect of their own; None if the effects are common to all
        runs.
    common
        Number of effects that are common to all runs.
    suits
        From a law to whether the component can be used with it.
    total
        From an `Evaluation` and effects (..., effects), on NumPy, to their sum effects @ columns, (..., points).
        Optional: give it if there is a faster way to compute the sum.

    Raises
    ------
    SpecError
        If it has neither ``runs`` nor ``common``, or both.

    References
    ----------
    Kennedy & O'Hagan, *Bayesian calibration of computer models*, Journal of the Royal Statistical Society B 63, 2001.

    Examples
    --------
    A slope over log forward area that all runs share, for laws of pre-training only:

    >>> import bayes_cpt as bc
    >>> slope = bc.Component(
    ...     lambda evaluation: evaluation.log_forward_area[None], common=1, suits=lambda law: not law.has_shift
    ... )
    >>> slope.suits(bc.LAWS["annealing"]), slope.suits(bc.LAWS["cpt"])
    (True, False)
    """

    columns: Callable[[Evaluation], Array]
    runs: Callable[[Design], IntArray] | None = None
    common: int = 0
    suits: Callable[[Law], bool] = suits_curves
    total: Callable[[Evaluation, Array], Array] | None = None

    def __post_init__(self) -> None:
        if (self.runs is None) != (self.common > 0):
            raise SpecError("a discrepancy component has either effects of single runs (runs) or common ones (common)")

    def together(self, evaluation: Evaluation, effects: Array) -> Array:
        """Return the change of the loss by effects (..., effects), (..., points)."""
        if self.total is not None:
            return self.total(evaluation, effects)
        columns = self.columns(evaluation)
        return effects @ columns if columns.ndim == 2 else (effects[..., None, :] @ columns)[..., 0, :]


def _smooth_columns(evaluation: Evaluation) -> Array:
    modes = smooth_modes(evaluation.log_forward_area, *_smooth_range(evaluation), SMOOTH_LENGTH, SMOOTH_MODES)
    return np.concatenate([modes, OPENING * _beyond_data(evaluation)[None]])


def _smooth_range(evaluation: Evaluation) -> tuple[float, float]:
    """Return the logs of forward area between which the smooth process varies."""
    found = evaluation.fitted_range
    shortest = np.log(found.smallest_measured_forward_area / found.largest_forward_area)
    return float(shortest), _longest(evaluation) + EXTRAPOLATION


def _longest(evaluation: Evaluation) -> float:
    found = evaluation.fitted_range
    return float(np.log(found.largest_measured_forward_area / found.largest_forward_area))


def _beyond_data(evaluation: Evaluation) -> FloatArray:
    return np.maximum(evaluation.log_forward_area - _longest(evaluation), 0.0)


def _annealing_columns(evaluation: Evaluation) -> Array:
    return _inherited_columns(evaluation.design, _opening_annealing(evaluation))


def _opening_annealing(evaluation: Evaluation) -> Array:
    return evaluation.terms.annealing * (1 + OPENING * _beyond_data(evaluation))


def _shift_columns(evaluation: Evaluation) -> Array:
    return _inherited_columns(evaluation.design, evaluation.terms.shift)[..., cpt_runs(evaluation.design), :]


def _shape_columns(evaluation: Evaluation) -> Array:
    modes = smooth_modes(evaluation.log_forward_area_cpt, *SHAPE_RANGE, SMOOTH_LENGTH, SHAPE_MODES)
    return modes * evaluation.terms.shift[..., None, :]


def _warmup_columns(evaluation: Evaluation) -> FloatArray:
    return np.exp(-WARMUP_RATES[:, None] * evaluation.design.features["warmups_since"])


def _size_columns(evaluation: Evaluation) -> Array:
    size, found = np.log(evaluation.design.features["model_size"]), evaluation.fitted_range
    above, below = size - np.log(found.largest_model_size), np.log(found.smallest_model_size) - size
    return (np.maximum(above, 0.0) - np.maximum(below, 0.0))[None]


def _peak_columns(evaluation: Evaluation) -> FloatArray:
    features, found = evaluation.design.features, evaluation.fitted_range
    of_pt = _from_nearest(features["peak_learning_rate_pt"], found.peaks_pt)
    of_cpt = _from_nearest(features["peak_learning_rate_cpt"], found.peaks_cpt)
    return np.stack([of_pt, of_cpt * _settled(evaluation)])


def _settled(evaluation: Evaluation) -> FloatArray:
    """Return the share (points,) of an effect of a CPT run that is reached: 0 at its transfer point, then up to 1."""
    features = evaluation.design.features
    area, peak = features["forward_area_cpt"], features["peak_learning_rate_cpt"]
    # a run at a low peak takes as many steps as others
    settling = SETTLING * evaluation.fitted_range.largest_forward_area_cpt * peak
    return area / np.maximum(area + settling, np.finfo(float).tiny)


def _transfer_columns(evaluation: Evaluation) -> Array:
    columns = _inherited_columns(evaluation.design, _settled(evaluation))
    return (columns * (1 + _from_fitted_replay(evaluation))[:, None])[cpt_runs(evaluation.design)]


def _transfer_total(evaluation: Evaluation, effects: Array) -> Array:
    scaled = _of_all_runs(evaluation.design, effects) * (1 + _from_fitted_replay(evaluation))
    return _inherited_total(evaluation.design, _settled(evaluation), scaled)


def _annealing_by_replay_columns(evaluation: Evaluation) -> Array:
    columns = _inherited_columns(evaluation.design, evaluation.terms.annealing)
    return (columns * _from_fitted_replay(evaluation)[:, None])[..., cpt_runs(evaluation.design), :]


def _from_fitted_replay(evaluation: Evaluation) -> FloatArray:
    """Return, by run, the e-folds of the shares of old and of new data to the nearest fitted replay ratio."""
    fitted = np.array(evaluation.fitted_range.replays_cpt)
    if not fitted.size:
        return np.zeros(len(evaluation.design.runs))
    replay = evaluation.design.features["replay_ratio"][evaluation.design.start]
    of_old, of_new = (
        _e_folds(share(replay), share(fitted)) for share in (lambda ratio: ratio, lambda ratio: 1 - ratio)
    )
    return (of_old + of_new).min(axis=0)


def _e_folds(shares: FloatArray, fitted: FloatArray) -> FloatArray:
    """Return the distances (fitted, runs) of shares of data."""
    return np.abs(np.log(shares + SMALL_SHARE) - np.log(fitted + SMALL_SHARE)[:, None])


def _from_nearest(peaks: FloatArray, fitted: tuple[float, ...]) -> FloatArray:
    """Return the logs of peaks over the nearest fitted one; 0 if nothing of the phase was fitted."""
    if not fitted:
        return np.zeros(peaks.size)
    distance = np.log(peaks) - np.log(fitted)[:, None]
    nearest = np.abs(distance).argmin(axis=0)
    found = distance[nearest, np.arange(peaks.size)]
    return np.where(np.abs(found) > SAME_PEAK, found, 0.0)


def _annealing_total(evaluation: Evaluation, effects: Array) -> Array:
    return _inherited_total(evaluation.design, _opening_annealing(evaluation), effects)


def _shift_total(evaluation: Evaluation, effects: Array) -> Array:
    return _inherited_total(evaluation.design, evaluation.terms.shift, _of_all_runs(evaluation.design, effects))


def _of_all_runs(design: Design, effects: Array) -> Array:
    """Return effects (..., runs) of all runs from those of the CPT runs: 0 for the others."""
    found = np.zeros((*effects.shape[:-1], len(design.runs)))
    found[..., cpt_runs(design)] = effects
    return found


def root_runs(design: Design) -> IntArray:
    """Return the indices of the runs from scratch."""
    return np.flatnonzero(design.parent < 0)


def cpt_runs(design: Design) -> IntArray:
    """Return the indices of the continual pre-training runs."""
    return np.flatnonzero(design.is_cpt)


def all_runs(design: Design) -> IntArray:
    """Return the indices of all runs."""
    return np.arange(len(design.runs))


COMPONENTS: Registry[Component] = Registry(
    "discrepancy component",
    {
        "smooth": Component(_smooth_columns, common=SMOOTH_MODES + 1, suits=suits_known_curves),
        "warmup": Component(_warmup_columns, common=WARMUP_RATES.size, suits=suits_known_curves),
        "size": Component(_size_columns, common=1, suits=suits_sizes),
        "peak": Component(_peak_columns, common=2),
        "offset": Component(lambda evaluation: _root(evaluation.design), root_runs),
        "annealing": Component(_annealing_columns, all_runs, total=_annealing_total),
        "annealing_by_replay": Component(_annealing_by_replay_columns, cpt_runs, suits=suits_shifted_curves),
        "shift": Component(_shift_columns, cpt_runs, suits=suits_shifted_curves, total=_shift_total),
        "transfer": Component(_transfer_columns, cpt_runs, suits=suits_shifted_curves, total=_transfer_total),
        "shape": Component(_shape_columns, common=SHAPE_MODES, suits=suits_shifted_curves),
    },
)
"""Components by name. A model file uses one by giving its scale a prior, as ``annealing_scale`` for ``annealing``."""


def effect_labels(component: str, design: Design) -> list[str] | list[int]:
    """Return the labels of a component's effects: names of runs, or numbers of modes."""
    found = COMPONENTS[component]
    return list(range(found.common)) if found.runs is None else [design.runs[index] for index in found.runs(design)]


def effect_dimension(component: str) -> str:
    """Return the name of the dimension that `effect_labels` label."""
    return f"{component}_mode" if COMPONENTS[component].runs is None else f"{component}_run"


def _inherited_columns(design: Design, term: Array) -> Array:
    """Columns (..., runs, points) of effects that multiply the change of a term during each run of a lineage."""
    # Products with 0/1 matrices rather than indexing by run: their gradients are fast in every backend
    own, below = (np.arange(len(design.runs))[:, None] == design.run).astype(float), _below(design)
    at_start = term[..., design.start] * (design.parent >= 0)
    gathered_by_ancestors = at_start[..., below] - at_start[..., :, None]
    return own * (term - at_start @ own)[..., None, :] + gathered_by_ancestors @ own


def _inherited_total(design: Design, term: Array, effects: Array) -> Array:
    at_start = term[..., design.start]
    inherited = np.zeros(np.broadcast_shapes(at_start.shape, effects.shape))
    for runs in _generations(design):
        parents = design.parent[runs]
        gathered = at_start[..., runs] - at_start[..., parents] * (design.parent[parents] >= 0)
        inherited[..., runs] = inherited[..., parents] + effects[..., parents] * gathered
    own = term - (at_start * (design.parent >= 0))[..., design.run]
    return inherited[..., design.run] + effects[..., design.run] * own


def _generations(design: Design) -> list[IntArray]:
    """Runs with a parent, by how many ancestors they have: parents come in an earlier generation."""
    depth = np.zeros(len(design.parent), dtype=np.int64)
    for run, parent in enumerate(design.parent):
        depth[run] = depth[parent] + 1 if parent >= 0 else 0
    return [np.flatnonzero(depth == generation) for generation in range(1, depth.max() + 1)]


def _below(design: Design) -> IntArray:
    """At [a, r], for run r and its ancestor a: the child of a in the lineage of r; a itself if a is no ancestor."""
    below = np.tile(np.arange(len(design.runs))[:, None], len(design.runs))
    for run, parent in enumerate(design.parent):
        if parent >= 0:
            below[:, run] = below[:, parent]
            below[parent, run] = run
    return below


def _root(design: Design) -> FloatArray:
    """Membership (runs from scratch, points) of each point in the lineage of a run from scratch."""
    root = np.arange(len(design.runs))
    for run, parent in enumerate(design.parent):
        root[run] = run if parent < 0 else root[parent]
    return (root_runs(design)[:, None] == root[design.run]).astype(float)


def noise_variance(
    relative_learning_rate: Array, shift: Array, noise_floor: Array, noise_learning_rate: Array, noise_shift: Array
) -> Array:
    """Variance of a measured loss: a floor, a part that grows with LR, and one with LR x shift.

    Curves are rougher at high LR, and most of all if the shift is large (variant K of docs/lab-log/discrepancy.md).
    """
    by_rate = noise_learning_rate[..., None] * relative_learning_rate
    by_shift = noise_shift[..., None] * shift * relative_learning_rate
    return noise_floor[..., None] ** 2 + by_rate**2 + by_shift**2
