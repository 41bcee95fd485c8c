"""Learning-rate (LR) schedules: constant, linear, cosine, WSD (warm-up, stable, decay), or given points.

Every shape but the points is a warm-up, a stretch at the peak, and a decay over the last steps. Steps count from 1;
the warm-up reaches the peak at step ``warmup``; the decay ends at ``final * peak`` at the last step.
"""

import csv
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_cpt.errors import ScheduleError, hint

type FloatArray = NDArray[np.float64]
# One value, or several for a grid
type Floats = float | Sequence[float] | NDArray[Any]
type Ints = int | Sequence[int] | NDArray[Any]
type Names = str | Sequence[str]


@dataclass(frozen=True)
class Schedule:
    """A schedule, or a grid of them where a field is a list: build it by the functions below.

    Parameters
    ----------
    kind
        ``constant``, ``linear``, ``cosine``, ``wsd`` or ``points``.
    fields
        The arguments of the function of that name, defaults included.

    Raises
    ------
    ScheduleError
        If the schedule, or any member of the grid, cannot be.
    """

    kind: str
    fields: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        for member in _members(self.fields):
            _check(self.kind, member)


def constant(peak: Floats, steps: Ints, warmup: Ints = 0, *, start: Floats = 0.0) -> Schedule:
    """Warm up, then stay at the peak.

    Every argument here and in `linear`, `cosine` and `wsd` may be a list: the schedule is then the grid of all
    combinations (`expand`).

    Parameters
    ----------
    peak
        Peak LR.
    steps
        Length of the run.
    warmup
        Steps of (re-)warm-up; 0 starts at the peak.
    start
        LR / peak at which the warm-up starts, as if used at step 0.

    Raises
    ------
    ScheduleError
        If an argument is out of range.
    """
    return _build("constant", peak=peak, steps=steps, warmup=warmup, start=start)


def linear(peak: Floats, steps: Ints, warmup: Ints = 0, *, final: Floats = 0.0, start: Floats = 0.0) -> Schedule:
    """Warm up, then decay linearly to ``final * peak`` (arguments as in `constant`)."""
    return _build("linear", peak=peak, steps=steps, warmup=warmup, final=final, start=start)


def cosine(peak: Floats, steps: Ints, warmup: Ints = 0, *, final: Floats = 0.0, start: Floats = 0.0) -> Schedule:
    """Warm up, then decay along half a cosine to ``final * peak`` (arguments as in `constant`)."""
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
    """Warm up, stay at the peak, decay to ``final * peak`` over the last ``round(decay * steps)`` steps.

    Parameters
    ----------
    peak, steps, warmup, start
        As in `constant`.
    decay
        Fraction of the steps that decay.
    final
        Final LR / peak; ``exponential`` needs it above 0.
    decay_shape
        ``linear``, ``cosine``, ``exponential`` or ``1-sqrt``.

    Raises
    ------
    ScheduleError
        If an argument is out of range, or the warm-up and the decay do not fit into the steps.
    """
    return _build(
        "wsd", peak=peak, steps=steps, warmup=warmup, decay=decay, final=final, decay_shape=decay_shape, start=start
    )


def from_points(step: Sequence[int] | NDArray[Any], lr: Sequence[float] | NDArray[Any]) -> Schedule:
    """LRs at listed steps, linear between them.

    Parameters
    ----------
    step
        Strictly increasing integers, the first of them 1, the last the length of the run.
    lr
        LR at each.

    Raises
    ------
    ScheduleError
        If the steps are not as above, or an LR is negative or not finite.
    """
    return Schedule("points", {"step": tuple(map(_plain, step)), "lr": tuple(map(_plain, lr))})


def from_csv(path: str | Path) -> Schedule:
    """Read the points of `from_points` from the columns ``step`` and ``lr`` of a CSV file.

    Raises
    ------
    ScheduleError
        If the file cannot be read, a column is missing, a cell is not a number, or the points cannot be a schedule.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleError(f"{path}: cannot be read as a CSV file of step, lr ({error}).") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if missing := {"step", "lr"} - set(rows.fieldnames or ()):
        raise ScheduleError(f"{path}: no column {' or '.join(sorted(missing))}; it needs the columns step and lr.")
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


def schedule(kind: str, **fields: Any) -> Schedule:
    """Build a schedule by name, as a plan file does.

    Parameters
    ----------
    kind
        A name in `SCHEDULES`, or the path of a CSV file of step, lr (ending in ``.csv``).
    fields
        Arguments of the function of that name; none for a file.

    Raises
    ------
    ScheduleError
        If the kind or a field is unknown, a field is missing, or the schedule cannot be.
    """
    if str(kind).endswith(".csv"):
        if fields:
            raise ScheduleError(f"{kind}: a schedule read from a file takes no further fields, not {_listed(fields)}.")
        return from_csv(kind)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise ScheduleError(f"Unknown kind of schedule {kind!r}: use {_listed(SCHEDULES)}, or a path ending in .csv.")
    known = inspect.signature(SCHEDULES[kind]).parameters
    for name in fields:
        if name not in known:
            raise ScheduleError(f"{kind}: unknown field {name!r}{hint(name, known)}; its fields are {_listed(known)}.")
    required = [name for name, parameter in known.items() if parameter.default is parameter.empty]
    if missing := [name for name in required if name not in fields]:
        raise ScheduleError(f"{kind}: {_listed(missing)} missing; its fields are {_listed(known)}.")
    return SCHEDULES[kind](**fields)


def expand(schedule: Schedule) -> list[Schedule]:
    """Return the members of a grid: the product over list-valued fields, the last of them varying fastest."""
    return [Schedule(schedule.kind, member) for member in _members(schedule.fields)]


def learning_rates(schedule: Schedule) -> FloatArray:
    """Return the LR used at each step.

    Returns
    -------
    array (steps,)
        Index 0 is step 1. Each value is computed on its own, so nothing accumulates over long runs.

    Raises
    ------
    ScheduleError
        If the schedule is a grid that has not been expanded.
    """
    fields = schedule.fields
    if lists := [name for name, value in fields.items() if isinstance(value, list)]:
        raise ScheduleError(f"{schedule.kind}: {_listed(lists)} is a list, so this is a grid: expand it first.")
    if schedule.kind == "points":
        return np.interp(np.arange(1, fields["step"][-1] + 1), fields["step"], fields["lr"])
    steps, warmup, decay_steps = fields["steps"], fields["warmup"], _decay_steps(schedule.kind, fields)
    share = np.ones(steps)
    if warmup:
        share[:warmup] = _between(fields["start"], 1.0, np.arange(1, warmup + 1) / warmup)
    if decay_steps:
        shape = DECAY_SHAPES[_decay_shape(schedule.kind, fields)]
        share[-decay_steps:] = shape(np.arange(1, decay_steps + 1) / decay_steps, fields["final"])
    return fields["peak"] * share


def _between(first: float, last: float, weight: FloatArray) -> FloatArray:
    """Interpolate so that weights 0 and 1 give exactly ``first`` and ``last``."""
    return (1 - weight) * first + weight * last


# LR / peak, by progress in (0, 1] and final LR / peak; exactly ``final`` at progress 1
DECAY_SHAPES: Mapping[str, Callable[[FloatArray, float], FloatArray]] = {
    "linear": lambda progress, final: _between(1.0, final, progress),
    "cosine": lambda progress, final: _between(1.0, final, (1 - np.cos(np.pi * progress)) / 2),
    "exponential": lambda progress, final: final**progress,
    "1-sqrt": lambda progress, final: _between(1.0, final, np.sqrt(progress)),
}


def _decay_steps(kind: str, fields: Mapping[str, Any]) -> int:
    if kind == "constant":
        return 0
    return round(fields["decay"] * fields["steps"]) if kind == "wsd" else fields["steps"] - fields["warmup"]


def _decay_shape(kind: str, fields: Mapping[str, Any]) -> str:
    return fields.get("decay_shape", kind)


def _build(kind: str, **fields: Any) -> Schedule:
    return Schedule(kind, {name: _plain(value) for name, value in fields.items()})


def _plain(value: Any) -> Any:
    """Turn NumPy values into Python's, and every sequence of options into a list, the mark of a grid."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return list(map(_plain, value)) if isinstance(value, list | tuple | range) else value


def _members(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = [value if isinstance(value, list) else [value] for value in fields.values()]
    for name, values in zip(fields, options, strict=True):
        if not values:
            raise ScheduleError(f"{name} is an empty list: a grid needs at least one value.")
    return [dict(zip(fields, values, strict=True)) for values in product(*options)]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names)


_SHARE: tuple[Callable[[Any], bool], str] = (
    lambda x: _is_number(x) and 0 <= x <= 1,
    "a number from 0 to 1 (LR / peak)",
)
_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "peak": (lambda x: _is_number(x) and x > 0, "a number above 0"),
    "steps": (lambda x: _is_integer(x) and x > 0, "an integer above 0"),
    "warmup": (lambda x: _is_integer(x) and x >= 0, "an integer of at least 0 (steps)"),
    "decay": (lambda x: _is_number(x) and 0 < x <= 1, "a fraction of the steps, above 0 and at most 1"),
    "final": _SHARE,
    "start": _SHARE,
    "decay_shape": (lambda x: isinstance(x, str) and x in DECAY_SHAPES, f"one of {_listed(DECAY_SHAPES)}"),
}


def _check(kind: str, fields: Mapping[str, Any]) -> None:
    """Refuse a single schedule that cannot be."""
    if kind == "points":
        _check_points(fields["step"], fields["lr"])
        return
    for name, value in fields.items():
        holds, right = _RULES[name]
        if not holds(value):
            raise ScheduleError(f"{kind}: {name} must be {right}, not {value!r}.")
    steps, warmup, decay_steps = fields["steps"], fields["warmup"], _decay_steps(kind, fields)
    if kind != "constant" and decay_steps < 1:
        raise ScheduleError(f"{kind}: not one of the {steps} steps is left for the decay after {warmup} of warm-up.")
    if warmup + decay_steps > steps:
        raise ScheduleError(f"{kind}: {warmup} steps of warm-up and {decay_steps} of decay exceed steps={steps}.")
    if kind != "constant" and _decay_shape(kind, fields) == "exponential" and fields["final"] == 0:
        raise ScheduleError(f"{kind}: an exponential decay never reaches 0, so final must be above 0.")


def _check_points(step: Sequence[Any], lr: Sequence[Any]) -> None:
    if len(step) != len(lr) or not step:
        raise ScheduleError(f"A schedule needs a step or more and an LR for each: {len(step)} steps, {len(lr)} LRs.")
    for value in step:
        if not _is_integer(value):
            raise ScheduleError(f"The steps of a schedule must be integers, not {value!r}.")
    for value, at in zip(lr, step, strict=True):
        if not _is_number(value) or value < 0:
            raise ScheduleError(f"The LR at step {at} must be a finite number of at least 0, not {value!r}.")
    if step[0] != 1:
        raise ScheduleError(f"The first listed step of a schedule must be 1, not {step[0]}.")
    for earlier, later in pairwise(step):
        if later <= earlier:
            raise ScheduleError(f"The steps of a schedule must rise strictly, but {later} follows {earlier}.")


def _cell[T](where: str, row: Mapping[str, str | None], column: str, read: Callable[[str], T]) -> T:
    value = row[column] or ""
    try:
        return read(value)
    except ValueError:
        right = "an integer" if read is int else "a number"
        raise ScheduleError(f"{where}, column {column}: {value!r} is not {right}.") from None
