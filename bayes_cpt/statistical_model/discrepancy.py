"""Structured discrepancy: how whole runs depart from the law, beyond measurement noise.

The loss of a run is law + discrepancy + noise. The discrepancy is a sum of Gaussian effects, each of which multiplies
a column that is zero where the effect has had nothing to act on:

- ``smooth``: the law's own misfit over log forward area, common to all runs (Matern-3/2, by its leading modes), and
  a slope that is 0 on the data and opens the band beyond them;
- ``warmup``: what the power law leaves just after the PT warm-up, common to all runs, gone after a few times the
  warm-up's forward area;
- ``size``: likewise 0 for the model sizes seen, growing with each e-fold of size beyond them;
- ``offset``: a run from scratch as a whole sits a little above or below the law;
- ``annealing``: a run's annealing is a little larger or smaller than the law's, the more so beyond the data;
- ``shift``: the same of its distribution shift;
- ``shape``: the shift's own misfit over log forward area of continual pre-training, common to all runs.

A child inherits what its parent had gathered at the branch, and its own effects act on what comes after it: so its
discrepancy starts where the parent's was. Given the law's parameters all effects are Gaussian, so the likelihood
integrates them out exactly (Woodbury's identity), at a cost linear in the points. docs/lab-log/discrepancy.md has the
evidence. Everything here runs on NumPy, with leading dimensions for draws, and on PyTensor.
"""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.laws.features import Design
from bayes_cpt.laws.terms import Terms

SMOOTH_LENGTH = 1.5
"""Length of the smooth process, in e-folds of forward area."""
SMOOTH_MODES = 10
WARMUP_RATES = np.array([1.0, 2.0, 4.0])
"""Rates at which what the warm-up leaves fades, a warm-up's forward area."""
SHAPE_RANGE = (-6.0, 1.0)
"""Logs of the forward area of continual pre-training, over its largest, between which the shift's shape may vary."""
SHAPE_MODES = 8
EXTRAPOLATION = 2.0
"""E-folds of forward area beyond the data over which the smooth process is still defined; it stays constant there."""
OPENING = 1.5
"""By how much of its own size the law's misfit may grow with each e-fold of forward area beyond the data."""


class Seen(NamedTuple):
    """The range of the fitted data: logs of the forward area over the reference, and of model sizes in millions."""

    shortest: float
    longest: float
    smallest: float
    largest: float


class Nodes(NamedTuple):
    """What the columns of the effects are made of, at the nodes of a design.

    Parameters
    ----------
    design
        The points.
    terms
        The law's terms at the nodes.
    log_forward_area
        (nodes,) Log of the forward area over the reference.
    log_forward_area_cpt
        (nodes,) The same of continual pre-training's.
    seen
        The range of the fitted data.
    """

    design: Design
    terms: Terms
    log_forward_area: Array
    log_forward_area_cpt: Array
    seen: Seen


class Component(NamedTuple):
    """One kind of effect.

    Parameters
    ----------
    columns
        What effects of size 1 do, (..., effects, nodes).
    total
        What given effects (..., effects) do together, (..., nodes): as effects @ columns, at a cost that does not grow
        with runs x nodes.
    runs
        The runs that have one; None if they are common to all.
    common
        How many there are that are common to all.
    """

    columns: Callable[[Nodes], Array]
    total: Callable[[Nodes, Array], Array]
    runs: Callable[[Design], IntArray] | None
    common: int = 0


def _smooth_columns(nodes: Nodes) -> Array:
    modes = smooth_modes(nodes.log_forward_area, nodes.seen.shortest, nodes.seen.longest + EXTRAPOLATION)
    return np.concatenate([modes, OPENING * _beyond_data(nodes)[None]])


def _beyond_data(nodes: Nodes) -> FloatArray:
    return np.maximum(nodes.log_forward_area - nodes.seen.longest, 0.0)


def _offset_columns(nodes: Nodes) -> Array:
    return _root(nodes.design)


def _annealing_columns(nodes: Nodes) -> Array:
    return _inherited_columns(nodes.design, _opening_annealing(nodes))


def _opening_annealing(nodes: Nodes) -> Array:
    return nodes.terms.annealing * (1 + OPENING * _beyond_data(nodes))


def _shift_columns(nodes: Nodes) -> Array:
    return _inherited_columns(nodes.design, nodes.terms.shift)[..., cpt_runs(nodes.design), :]


def _shape_columns(nodes: Nodes) -> Array:
    return _shape_modes(nodes) * nodes.terms.shift[..., None, :]


def _shape_modes(nodes: Nodes) -> FloatArray:
    return smooth_modes(nodes.log_forward_area_cpt, *SHAPE_RANGE)[-SHAPE_MODES:]


def _warmup_columns(nodes: Nodes) -> FloatArray:
    return np.exp(-WARMUP_RATES[:, None] * nodes.design.features["warmups_since"])


def _warmup_total(nodes: Nodes, effects: Array) -> Array:
    return effects @ _warmup_columns(nodes)


def _size_columns(nodes: Nodes) -> Array:
    size = np.log(nodes.design.features["model_size"])
    beyond = np.maximum(size - nodes.seen.largest, 0.0) - np.maximum(nodes.seen.smallest - size, 0.0)
    return beyond[None]


def _size_total(nodes: Nodes, effects: Array) -> Array:
    return effects @ _size_columns(nodes)


def _shape_total(nodes: Nodes, effects: Array) -> Array:
    return (effects @ _shape_modes(nodes)) * nodes.terms.shift


def _smooth_total(nodes: Nodes, effects: Array) -> Array:
    return effects @ _smooth_columns(nodes)


def _offset_total(nodes: Nodes, effects: Array) -> Array:
    return effects @ _root(nodes.design)


def _annealing_total(nodes: Nodes, effects: Array) -> Array:
    return _inherited_total(nodes.design, _opening_annealing(nodes), effects)


def _shift_total(nodes: Nodes, effects: Array) -> Array:
    of_all_runs = np.zeros((*effects.shape[:-1], len(nodes.design.runs)))
    of_all_runs[..., cpt_runs(nodes.design)] = effects
    return _inherited_total(nodes.design, nodes.terms.shift, of_all_runs)


def root_runs(design: Design) -> IntArray:
    """Indices of the runs from scratch."""
    return np.flatnonzero(design.parent < 0)


def cpt_runs(design: Design) -> IntArray:
    """Indices of the continual pre-training runs."""
    return np.flatnonzero(design.is_cpt)


def all_runs(design: Design) -> IntArray:
    """Indices of all runs."""
    return np.arange(len(design.runs))


COMPONENTS: Mapping[str, Component] = MappingProxyType(
    {
        "smooth": Component(_smooth_columns, _smooth_total, None, SMOOTH_MODES + 1),
        "warmup": Component(_warmup_columns, _warmup_total, None, WARMUP_RATES.size),
        "size": Component(_size_columns, _size_total, None, 1),
        "offset": Component(_offset_columns, _offset_total, root_runs),
        "annealing": Component(_annealing_columns, _annealing_total, all_runs),
        "shift": Component(_shift_columns, _shift_total, cpt_runs),
        "shape": Component(_shape_columns, _shape_total, None, SHAPE_MODES),
    }
)
"""Every component a model file may use, by the name that stands before ``_scale`` in it."""


def effect_labels(component: str, design: Design) -> list[str] | list[int]:
    """Return what a component's effects belong to: runs by name, or modes by number."""
    kind = COMPONENTS[component]
    return list(range(kind.common)) if kind.runs is None else [design.runs[index] for index in kind.runs(design)]


def effect_dimension(component: str) -> str:
    """Return the name of the dimension that `effect_labels` label."""
    return f"{component}_mode" if COMPONENTS[component].runs is None else f"{component}_run"


def _inherited_columns(design: Design, term: Array) -> Array:
    """Columns (..., runs, nodes) of effects that multiply what a term has gathered during each run of a lineage."""
    # Products with 0/1 matrices rather than indexing by run: their gradients are fast in every backend
    own, below = _own(design), _below(design)
    at_start = term[..., design.start] * (design.parent >= 0)
    gathered_by_ancestors = at_start[..., below] - at_start[..., :, None]
    return own * (term - at_start @ own)[..., None, :] + gathered_by_ancestors @ own


def _inherited_total(design: Design, term: Array, effects: Array) -> Array:
    at_start = term[..., design.start]
    inherited = np.zeros(np.broadcast_shapes(at_start.shape, effects.shape))
    for run, parent in enumerate(design.parent):
        if parent >= 0:
            gathered = at_start[..., run] - at_start[..., parent] * (design.parent[parent] >= 0)
            inherited[..., run] = inherited[..., parent] + effects[..., parent] * gathered
    own = term - (at_start * (design.parent >= 0))[..., design.run]
    return inherited[..., design.run] + effects[..., design.run] * own


def _own(design: Design) -> FloatArray:
    """1 at [run, node] where the node is on the run, else 0."""
    return (np.arange(len(design.runs))[:, None] == design.run).astype(float)


def _below(design: Design) -> IntArray:
    """For run r and its ancestor a, at [a, r], the run by which r's lineage leaves a; a itself where it is none."""
    below = np.tile(np.arange(len(design.runs))[:, None], len(design.runs))
    for run, parent in enumerate(design.parent):
        if parent >= 0:
            below[:, run] = below[:, parent]
            below[parent, run] = run
    return below


def _root(design: Design) -> FloatArray:
    """Membership (runs from scratch, nodes) of each node in the lineage of a run from scratch."""
    root = np.arange(len(design.runs))
    for run, parent in enumerate(design.parent):
        root[run] = run if parent < 0 else root[parent]
    return (root_runs(design)[:, None] == root[design.run]).astype(float)


def smooth_modes(place: FloatArray, lower: float, upper: float) -> FloatArray:
    """Leading modes (modes, nodes) of a Matern-3/2 process of unit variance and length ``SMOOTH_LENGTH``.

    Constant beyond ``lower`` and ``upper``. Modes are those of the process on a grid, interpolated, so that independent
    standard normal effects give the process.
    """
    grid, modes = _grid_modes(lower, upper)
    return np.array([np.interp(place, grid, mode) for mode in modes])


@cache
def _grid_modes(lower: float, upper: float) -> tuple[FloatArray, FloatArray]:
    grid = np.linspace(lower, upper, 120)
    values, vectors = np.linalg.eigh(_matern(grid[:, None] - grid))
    return grid, (vectors[:, -SMOOTH_MODES:] * np.sqrt(values[-SMOOTH_MODES:])).T


def _matern(distance: FloatArray) -> FloatArray:
    scaled = np.sqrt(3) * np.abs(distance) / SMOOTH_LENGTH
    return (1 + scaled) * np.exp(-scaled)


def noise_variance(
    relative_learning_rate: Array, shift: Array, noise_floor: Array, noise_learning_rate: Array, noise_shift: Array
) -> Array:
    """Variance of a measured loss: a floor, a part that grows with LR, and one with LR x forgetting.

    Curves are rougher at high LR, and most so where the shift is large (discrepancy.md's K).
    """
    by_rate = noise_learning_rate[..., None] * relative_learning_rate
    by_shift = noise_shift[..., None] * shift * relative_learning_rate
    return noise_floor[..., None] ** 2 + by_rate**2 + by_shift**2
