"""What the values of a learning-rate (LR) schedule must be, and the shapes that a decay may have."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import numpy as np

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.errors import ScheduleError, quoted

MOST_STEPS = 20_000_000
"""Number of steps of the longest run: each has a learning rate in memory."""
LARGEST_RATE = 1e3
"""Learning rates above it are mistakes, and their sums could overflow."""
SMALLEST_PEAK = 1e-100
"""Peaks below it are as good as 0: ratios of learning rates could overflow."""


LEARNING_RATE_TOLERANCE = 1e-6
"""LRs that differ by less than this share of the peak count as equal: the error allowed when few steps are listed."""


def between(first: float, last: float, weight: FloatArray) -> FloatArray:
    """Interpolate so that weights 0 and 1 give exactly ``first`` and ``last``."""
    return (1 - weight) * first + weight * last


DECAY_SHAPES: Mapping[str, Callable[[FloatArray, float], FloatArray]] = {
    "linear": lambda progress, final: between(1.0, final, progress),
    "cosine": lambda progress, final: between(1.0, final, (1 - np.cos(np.pi * progress)) / 2),
    "exponential": lambda progress, final: final**progress,
    "1-sqrt": lambda progress, final: between(1.0, final, np.sqrt(progress)),
}
"""Shapes of the decay: LR / peak as a function of the progress in (0, 1] and of ``final``, its value at progress 1."""


def decay_steps(kind: str, fields: Mapping[str, Any]) -> int:
    """Return the number of steps of the decay."""
    if kind == "constant":
        return 0
    return round(fields["decay"] * fields["steps"]) if kind == "wsd" else fields["steps"] - fields["warmup"]


def decay_shape(kind: str, fields: Mapping[str, Any]) -> str:
    """Return the key of ``DECAY_SHAPES`` that a schedule decays by."""
    return fields.get("decay_shape", kind)


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def listed_names(names: Sequence[str] | Mapping[str, Any]) -> str:
    """Join names by commas."""
    return ", ".join(names)


_SHARE: tuple[Callable[[Any], bool], str] = (
    lambda value: _is_number(value) and 0 <= value <= 1,
    "a number from 0 to 1 (LR / peak)",
)
_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "peak": (lambda value: _is_number(value) and value >= SMALLEST_PEAK, "a number above 0"),
    "steps": (lambda value: _is_integer(value) and value > 0, "an integer above 0"),
    "warmup": (lambda value: _is_integer(value) and value >= 0, "an integer of at least 0 (steps)"),
    "decay": (lambda value: _is_number(value) and 0 < value <= 1, "a fraction of the steps, above 0 and at most 1"),
    "final": _SHARE,
    "start": _SHARE,
    "decay_shape": (lambda value: value in tuple(DECAY_SHAPES), f"one of {listed_names(DECAY_SHAPES)}"),
}


_LARGEST = {"peak": LARGEST_RATE, "steps": MOST_STEPS}


def check(kind: str, fields: Mapping[str, Any]) -> None:
    """Raise `ScheduleError` unless the values of a single schedule are possible."""
    if kind == "points":
        _check_points(fields["step"], fields["lr"])
        return
    for name, value in fields.items():
        is_allowed, right = _RULES[name]
        if not is_allowed(value):
            raise ScheduleError(f"{kind}: {name} must be {right}, not {quoted(value)}.")
        if name in _LARGEST and value > _LARGEST[name]:
            raise ScheduleError(f"{kind}: {name} must be at most {_LARGEST[name]:,}, not {quoted(value)}.")
    steps, warmup, decaying = fields["steps"], fields["warmup"], decay_steps(kind, fields)
    if kind != "constant" and decaying < 1:
        raise ScheduleError(
            f"{kind}: none of the {steps} steps is left for the decay after {warmup} of warm-up; give more steps."
        )
    if warmup + decaying > steps:
        raise ScheduleError(f"{kind}: {warmup} steps of warm-up and {decaying} of decay exceed steps={steps}.")
    if kind != "constant" and decay_shape(kind, fields) == "exponential" and fields["final"] == 0:
        raise ScheduleError(f"{kind}: an exponential decay never reaches 0, so final must be above 0.")


def _check_points(step: Sequence[Any], lr: Sequence[Any]) -> None:
    if len(step) != len(lr) or not step:
        raise ScheduleError(
            f"A schedule has {len(step)} steps, {len(lr)} LRs; it needs at least one step, and an LR for each."
        )
    for value in step:
        if not _is_integer(value):
            raise ScheduleError(f"The steps of a schedule must be integers, not {quoted(value)}.")
        if value > MOST_STEPS:
            raise ScheduleError(f"A schedule has at most {MOST_STEPS:,} steps, not {quoted(value)}.")
    for value, place in zip(lr, step, strict=True):
        if not _is_number(value) or not 0 <= value <= LARGEST_RATE:
            raise ScheduleError(
                f"The LR at step {place} must be a number from 0 to {LARGEST_RATE:g}, not {quoted(value)}."
            )
    if step[0] != 1:
        raise ScheduleError(f"The first listed step of a schedule must be 1, not {step[0]}.")
    for earlier, later in pairwise(step):
        if later <= earlier:
            raise ScheduleError(f"The steps of a schedule must increase strictly, but {later} follows {earlier}.")


def corners(rates: FloatArray) -> IntArray:
    """Return indices between which the LR is linear (Ramer-Douglas-Peucker: split where the chord is farthest off)."""
    allowed = LEARNING_RATE_TOLERANCE * rates.max()
    corners, open_spans = {0, rates.size - 1}, [(0, rates.size - 1)]
    while open_spans:
        first, last = open_spans.pop()
        chord = np.linspace(rates[first], rates[last], last - first + 1)
        gap = np.abs(rates[first : last + 1] - chord)
        farthest = first + int(gap.argmax())
        if gap.max() > allowed:
            corners.add(farthest)
            open_spans += [(first, farthest), (farthest, last)]
    return np.array(sorted(corners))
