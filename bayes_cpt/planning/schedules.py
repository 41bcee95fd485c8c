"""Learning-rate (LR) schedules: constant, linear, cosine, WSD (warm-up, stable, decay), or listed points.

All but listed points consist of a warm-up, steps at the peak, and a decay over the last steps. Steps count from 1. The
warm-up reaches the peak at step ``warmup``. The decay ends at ``final * peak`` at the last step.
"""

import csv
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.files import read_text
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError, ScheduleError, hint, quoted
from bayes_cpt.runs.schedule_checks import DECAY_SHAPES, between, check, decay_shape, decay_steps, listed_names

MOST_MEMBERS = 100_000
"""Number of schedules of the largest grid."""

# One value, or several for a grid
type Floats = float | Sequence[float] | NDArray[Any]
type Ints = int | Sequence[int] | NDArray[Any]
type Names = str | Sequence[str]


@dataclass(frozen=True)
class Schedule:
    """A schedule, or a grid of schedules if a field is a list; made by the functions below.

    Parameters
    ----------
    kind
        ``constant``, ``linear``, ``cosine``, ``wsd`` or ``points``.
    fields
        Arguments of the function of that name, including defaults.

    Raises
    ------
    ScheduleError
        If the schedule, or any member of the grid, is not possible.
    """

    kind: str
    fields: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        for member in _members(self.fields):
            check(self.kind, member)


def constant(peak: Floats, steps: Ints, warmup: Ints = 0, *, start: Floats = 0.0) -> Schedule:
    """Warm up, then stay at the peak.

    Every argument here and in `linear`, `cosine` and `wsd` may be a list. The schedule is then the grid of all
    combinations.

    Parameters
    ----------
    peak
        Peak LR.
    steps
        Length of the run, in steps.
    warmup
        Steps of (re-)warm-up; with 0 the run starts at the peak.
    start
        LR / peak from which the warm-up rises, as if used at step 0.

    Returns
    -------
    Schedule
        To be used in `bayes_cpt.plan`, or in `learning_rates`.

    Raises
    ------
    ScheduleError
        If an argument is out of range.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.constant(peak=1e-3, steps=5, warmup=2))
    array([0.0005, 0.001 , 0.001 , 0.001 , 0.001 ])
    """
    return _build("constant", peak=peak, steps=steps, warmup=warmup, start=start)


def linear(peak: Floats, steps: Ints, warmup: Ints = 0, *, final: Floats = 0.0, start: Floats = 0.0) -> Schedule:
    """Warm up, then decay linearly.

    Parameters
    ----------
    peak, steps, warmup, start
        As in `constant`.
    final
        Final LR / peak.

    Returns
    -------
    Schedule
        See `constant`.

    Raises
    ------
    ScheduleError
        If an argument is out of range, or no step is left for the decay.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.linear(peak=1e-3, steps=5, warmup=1))
    array([0.001  , 0.00075, 0.0005 , 0.00025, 0.     ])
    """
    return _build("linear", peak=peak, steps=steps, warmup=warmup, final=final, start=start)


def cosine(peak: Floats, steps: Ints, warmup: Ints = 0, *, final: Floats = 0.0, start: Floats = 0.0) -> Schedule:
    """Warm up, then decay along half a cosine.

    Parameters
    ----------
    peak, steps, warmup, start
        As in `constant`.
    final
        Final LR / peak.

    Returns
    -------
    Schedule
        See `constant`.

    Raises
    ------
    ScheduleError
        If an argument is out of range, or no step is left for the decay.

    References
    ----------
    Loshchilov & Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, arXiv 1608.03983, Eq. 5.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.cosine(peak=1e-3, steps=5, warmup=1, final=0.1)).round(6)
    array([0.001   , 0.000868, 0.00055 , 0.000232, 0.0001  ])
    """
    return _build("cosine", peak=peak, steps=steps, warmup=warmup, final=final, start=start)


def wsd(
    peak: Floats,
    steps: Ints,
    warmup: Ints = 0,
    *,
    decay: Floats = 0.2,
    final: Floats = 0.0,
    decay_shape: Names = "linear",
    start: Floats = 0.0,
) -> Schedule:
    """Warm up, stay at the peak, and decay over the last ``round(decay * steps)`` steps (WSD).

    Parameters
    ----------
    peak, steps, warmup, start
        As in `constant`.
    decay
        Fraction of the steps that are decay.
    final
        Final LR / peak; ``exponential`` needs it above 0.
    decay_shape
        A key of ``DECAY_SHAPES``: ``linear``, ``cosine``, ``exponential`` or ``1-sqrt``.

    Returns
    -------
    Schedule
        See `constant`.

    Raises
    ------
    ScheduleError
        If an argument is out of range, or the warm-up and the decay do not fit into the steps.

    References
    ----------
    Hu et al., *MiniCPM*, 2024, arXiv 2404.06395.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.wsd(peak=1e-3, steps=6, warmup=2, decay=0.5))
    array([0.0005    , 0.001     , 0.001     , 0.00066667, 0.00033333,
           0.        ])
    """
    return _build(
        "wsd", peak=peak, steps=steps, warmup=warmup, decay=decay, final=final, decay_shape=decay_shape, start=start
    )


def from_points(step: Sequence[int] | NDArray[Any], lr: Sequence[float] | NDArray[Any]) -> Schedule:
    """List the LR at some steps; it is linear between them.

    Parameters
    ----------
    step
        Strictly increasing integers; the first is 1, the last the length of the run.
    lr
        LR at each step.

    Returns
    -------
    Schedule
        See `constant`.

    Raises
    ------
    ScheduleError
        If the steps are not as above, or an LR is negative or not finite.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.from_points([1, 3, 5], [0.0, 1e-3, 5e-4]))
    array([0.     , 0.0005 , 0.001  , 0.00075, 0.0005 ])
    """
    return Schedule("points", {"step": tuple(map(_plain, step)), "lr": tuple(map(_plain, lr))})


def from_csv(path: str | Path) -> Schedule:
    """Read the points of `from_points` from the columns ``step`` and ``lr`` of a CSV file.

    Raises
    ------
    ScheduleError
        If the file cannot be read, a column is missing, a cell is not a number, or the points are not a schedule.
    """
    try:
        text = read_text(path)
    except DataError as error:
        raise ScheduleError(f"{path}: cannot be read as a CSV file of step, lr ({error}).") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if missing := {"step", "lr"} - set(rows.fieldnames or ()):
        raise ScheduleError(
            f"{path}: no column {' or '.join(sorted(missing))}; the file needs the columns step and lr."
        )
    step, lr = [], []
    for row in rows:
        step.append(_cell(f"{path}, line {rows.line_num}", row, "step", int))
        lr.append(_cell(f"{path}, line {rows.line_num}", row, "lr", float))
    try:
        return from_points(step, lr)
    except ScheduleError as error:
        raise ScheduleError(f"{path}: {error}") from error


SCHEDULES: Mapping[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "wsd": wsd,
}
"""Schedules by the name that a plan file has as ``kind``."""


def schedule(kind: str, **fields: Any) -> Schedule:
    """Make a schedule by its name.

    Parameters
    ----------
    kind
        A name in `SCHEDULES`, or the path of a CSV file of step, lr (ending in ``.csv``).
    fields
        Arguments of the function of that name; none for a file.

    Raises
    ------
    ScheduleError
        If the kind or a field is unknown, a field is missing, or a value is out of range.

    Examples
    --------
    >>> from bayes_cpt.planning.schedules import schedule
    >>> schedule("wsd", peak=1e-3, steps=3000).fields["decay"]
    0.2
    """
    if str(kind).endswith(".csv"):
        if fields:
            raise ScheduleError(
                f"{kind}: a schedule read from a file takes no further fields, not {listed_names(fields)}."
            )
        return from_csv(kind)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise ScheduleError(
            f"Unknown kind of schedule {quoted(kind)}: use {listed_names(SCHEDULES)}, or a path ending in .csv."
        )
    known = inspect.signature(SCHEDULES[kind]).parameters
    for name in fields:
        if name not in known:
            raise ScheduleError(
                f"{kind}: unknown field {name!r}{hint(name, known)}; its fields are {listed_names(known)}."
            )
    required = [name for name, parameter in known.items() if parameter.default is parameter.empty]
    if missing := [name for name in required if name not in fields]:
        raise ScheduleError(f"{kind}: {listed_names(missing)} missing; its fields are {listed_names(known)}.")
    return SCHEDULES[kind](**fields)


def members(schedule: Schedule) -> int:
    """Return the number of members of a grid."""
    return prod(len(value) for value in schedule.fields.values() if isinstance(value, list))


def expand(schedule: Schedule) -> list[Schedule]:
    """Return the members of a grid: the product over fields that are lists, the last of them varying fastest."""
    return [Schedule(schedule.kind, member) for member in _members(schedule.fields)]


def learning_rates(schedule: Schedule) -> FloatArray:
    """Return the LR used at each step.

    Parameters
    ----------
    schedule
        A single schedule, not a grid.

    Returns
    -------
    array (steps,)
        Index 0 is step 1. Each value is computed on its own, so rounding errors do not accumulate.

    Raises
    ------
    ScheduleError
        If the schedule is a grid.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.learning_rates(bc.linear(peak=1e-3, steps=4, final=0.5))
    array([0.000875, 0.00075 , 0.000625, 0.0005  ])
    """
    fields = schedule.fields
    if lists := [name for name, value in fields.items() if isinstance(value, list)]:
        raise ScheduleError(
            f"{schedule.kind}: {listed_names(lists)} is a list, so this is a grid; give a single value, or use expand."
        )
    if schedule.kind == "points":
        return np.interp(np.arange(1, fields["step"][-1] + 1), fields["step"], fields["lr"])
    steps, warmup, decaying = fields["steps"], fields["warmup"], decay_steps(schedule.kind, fields)
    share = np.ones(steps)
    if warmup:
        share[:warmup] = between(fields["start"], 1.0, np.arange(1, warmup + 1) / warmup)
    if decaying:
        shape = DECAY_SHAPES[decay_shape(schedule.kind, fields)]
        share[-decaying:] = shape(np.arange(1, decaying + 1) / decaying, fields["final"])
    return fields["peak"] * share


def _build(kind: str, **fields: Any) -> Schedule:
    return Schedule(kind, {name: _plain(value) for name, value in fields.items()})


def _plain(value: Any) -> Any:
    """Turn NumPy values into Python's, and every sequence into a list, which marks a grid."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(map(_plain, value)) if isinstance(value, list | tuple | range) else value


def total_steps(schedule: Schedule) -> int:
    """Return the number of steps of all members of a grid."""
    fields = (member.fields for member in expand(schedule))
    return sum(each["steps"] if "steps" in each else each["step"][-1] for each in fields)


def _members(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = [value if isinstance(value, list) else [value] for value in fields.values()]
    for name, values in zip(fields, options, strict=True):
        if not values:
            raise ScheduleError(f"{name} is an empty list: a grid needs at least one value.")
    if (count := prod(map(len, options))) > MOST_MEMBERS:
        raise ScheduleError(f"a grid of {count:,} schedules; at most {MOST_MEMBERS:,} are made at once.")
    return [dict(zip(fields, values, strict=True)) for values in product(*options)]


def _cell[T](where: str, row: Mapping[str, str | None], column: str, read: Callable[[str], T]) -> T:
    value = row[column] or ""
    try:
        return read(value)
    except ValueError:
        right = "an integer" if read is int else "a number"
        raise ScheduleError(f"{where}, column {column}: {quoted(value)} is not {right}.") from None
