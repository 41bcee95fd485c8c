"""Risk measures: pure functions of draws of a loss, larger is worse, and the registry ``RISKS``.

Each reduces the last axis (the draws) and takes a level, whose meaning is its own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.registry import Registry
from bayes_cpt.errors import BayesCptError

type Draws = NDArray[Any]


def mean(draws: Draws, level: float) -> Draws:  # noqa: ARG001 - one shape for all
    """Return the average; the level plays no part."""
    return draws.mean(axis=-1)


def quantile(draws: Draws, level: float) -> Draws:
    """Return the loss that is not exceeded with probability ``level`` (value at risk)."""
    return np.quantile(draws, level, axis=-1)


def cvar(draws: Draws, level: float) -> Draws:
    """Return the average of the worst ``1 - level`` of the draws: conditional value at risk, upper tail.

    Source: Rockafellar and Uryasev 2000, ``q + E[max(draws - q, 0)] / (1 - level)``, where q is a ``level`` quantile;
    a draw that lies across the edge of the tail counts in part.
    """
    edge = np.quantile(draws, level, axis=-1, method="inverted_cdf", keepdims=True)
    return edge[..., 0] + np.maximum(draws - edge, 0).mean(axis=-1) / (1 - level)


def chance(draws: Draws, level: float) -> Draws:
    """Return the probability that the loss exceeds ``level``."""
    return (draws > level).mean(axis=-1)


@dataclass(frozen=True)
class Risk:
    """A risk measure.

    Parameters
    ----------
    measure
        From draws (..., draw) and a level to risks (...).
    level
        The level if none is given; None if the measure takes none.
    level_is_probability
        Whether a level lies between 0 and 1.
    """

    measure: Callable[[Draws, float], Draws]
    level: float | None
    level_is_probability: bool = True


RISKS: Registry[Risk] = Registry(
    "risk measure",
    {
        "mean": Risk(mean, None),
        "quantile": Risk(quantile, 0.9),
        "cvar": Risk(cvar, 0.9),
        "chance": Risk(chance, 0.0, level_is_probability=False),
    },
)
"""Risk measures by name."""


def resolve_risk(text: str) -> Callable[[Draws], Draws]:
    """Return the measure that ``text`` names: ``mean``, ``cvar``, or with a level ``cvar @ 0.95``, ``chance @ 0``.

    Returns
    -------
    Callable
        From draws (..., draw) to risks (...).

    Raises
    ------
    BayesCptError
        If there is no such measure, or the level is not one.
    """
    name, separator, level_text = (part.strip() for part in text.partition("@"))
    risk = RISKS[name]
    level = _level(text, name, level_text) if separator else risk.level or 0.0
    return lambda draws: risk.measure(draws, level)


def _level(text: str, name: str, level_text: str) -> float:
    risk = RISKS[name]
    if risk.level is None:
        raise BayesCptError(f"The risk {text!r} gives a level, and {name} takes none; write {name!r}.")
    try:
        level = float(level_text)
    except ValueError:
        level = math.nan
    if not math.isfinite(level) or (risk.level_is_probability and not 0 < level < 1):
        wanted = "a probability between 0 and 1" if risk.level_is_probability else "a number"
        raise BayesCptError(f"The risk {text!r} has the level {level_text!r}; {name} takes {wanted}.")
    return level
