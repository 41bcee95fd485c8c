"""Risk measures: functions of draws of a loss (larger is worse), and the registry ``RISKS``.

Each measure reduces the last axis (the draws) and takes a level, whose meaning depends on the measure.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_cpt._support.registry import Registry
from bayes_cpt.errors import BayesCptError, quoted

type Draws = NDArray[Any]


def mean(draws: Draws, level: float) -> Draws:  # noqa: ARG001 - all measures have one signature
    """Return the average; the level is not used."""
    return draws.mean(axis=-1)


def quantile(draws: Draws, level: float) -> Draws:
    """Return the quantile of the loss at ``level`` (value at risk)."""
    return np.quantile(draws, level, axis=-1)


def cvar(draws: Draws, level: float) -> Draws:
    """Return the mean of the worst ``1 - level`` of the draws: conditional value at risk of the upper tail.

    It is ``q + E[max(draws - q, 0)] / (1 - level)``, where q is a ``level`` quantile. A draw at the edge of the tail
    counts in part.

    References
    ----------
    Rockafellar & Uryasev, *Optimization of conditional value-at-risk*, Journal of Risk 2, 2000, Eq. 4.

    Examples
    --------
    >>> import numpy as np
    >>> from bayes_cpt.decisions.risk import cvar
    >>> float(cvar(np.arange(10.0), 0.8))
    8.5
    """
    edge = np.quantile(draws, level, axis=-1, method="inverted_cdf", keepdims=True)
    return edge[..., 0] + np.maximum(draws - edge, 0).mean(axis=-1) / (1 - level)


def chance(draws: Draws, level: float) -> Draws:
    """Return the probability that the loss exceeds ``level``."""
    return (draws > level).mean(axis=-1)


def mean_variance(draws: Draws, level: float) -> Draws:
    """Return the mean plus ``level`` times the variance: the price, per squared nat, of not knowing.

    References
    ----------
    Markowitz, *Portfolio selection*, Journal of Finance 7, 1952.

    Examples
    --------
    >>> import numpy as np
    >>> from bayes_cpt.decisions.risk import mean_variance
    >>> float(mean_variance(np.array([1.0, 3.0]), 0.5))
    2.5
    """
    return draws.mean(axis=-1) + level * draws.var(axis=-1)


@dataclass(frozen=True)
class Risk:
    """A risk measure and its default level.

    Parameters
    ----------
    measure
        From draws (..., draw) and a level to risks (...).
    level
        Default level; None if the measure takes none.
    level_is_probability
        Whether the level must be in (0, 1); else it may be any number, such as a loss in nats.

    Examples
    --------
    >>> import numpy as np
    >>> import bayes_cpt as bc
    >>> worst = bc.Risk(lambda draws, level: draws.max(axis=-1), level=None)
    >>> float(worst.measure(np.array([1.0, 2.0, 4.0]), 0.0))
    4.0
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
        "mean-variance": Risk(mean_variance, 1.0, level_is_probability=False),
        "chance": Risk(chance, 0.0, level_is_probability=False),
    },
)
"""Risk measures by the name that ``risk`` of `bayes_cpt.decide` and ``--risk`` take."""


def resolve_risk(text: str) -> Callable[[Draws], Draws]:
    """Return the risk measure that a text names.

    Parameters
    ----------
    text
        Key of ``RISKS``, optionally with a level: ``mean``, ``cvar``, ``cvar @ 0.95``, ``chance @ 0``.

    Returns
    -------
    Callable
        From draws (..., draw) to risks (...).

    Raises
    ------
    BayesCptError
        If the measure is unknown, or it does not take this level.

    Examples
    --------
    >>> import numpy as np
    >>> from bayes_cpt.decisions.risk import resolve_risk
    >>> float(resolve_risk("quantile @ 0.5")(np.array([1.0, 2.0, 4.0])))
    2.0
    """
    name, separator, level_text = (part.strip() for part in text.partition("@"))
    risk = RISKS[name]
    level = _level(text, name, level_text) if separator else risk.level or 0.0
    return lambda draws: risk.measure(draws, level)


def _level(text: str, name: str, level_text: str) -> float:
    risk = RISKS[name]
    if risk.level is None:
        raise BayesCptError(f"The risk {quoted(text)} has a level, but {name} takes none; write {name!r}.")
    try:
        level = float(level_text)
    except ValueError:
        level = math.nan
    if not math.isfinite(level) or (risk.level_is_probability and not 0 < level < 1):
        wanted = "a probability between 0 and 1" if risk.level_is_probability else "a number"
        raise BayesCptError(f"The risk {quoted(text)} has the level {quoted(level_text)}; {name} takes {wanted}.")
    return level
