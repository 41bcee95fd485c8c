"""How the choice moves as a weight, a limit or its probability moves: the price of a firmer promise."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt.decisions.choose import Decision, decide
from bayes_cpt.decisions.limits import Limit
from bayes_cpt.decisions.objectives import COSTS
from bayes_cpt.decisions.outcomes import ALL, Question

WEIGHTS = np.linspace(0, 1, 11)
PROBABILITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
OF_CHOSEN = ("replay", "peak", "end_step", "objective_mean", "objective_q05", "objective_q95", ALL)
"""What is said of the chosen candidate."""
BOUNDS = 9
"""Number of bounds tried between the loosest and the strictest that makes a difference."""


class _Case(NamedTuple):
    varied: str
    value: float
    question: Question


def sensitivity(decision: Decision, forecast: xr.Dataset) -> pd.DataFrame:
    """Repeat a decision with other weights, bounds and probabilities, on the same draws.

    Parameters
    ----------
    decision
        The result of `decide`.
    forecast
        The forecast that was decided on.

    Returns
    -------
    DataFrame
        One row per decision: varied (``weight of <domain>``, ``bound of <limit>`` or ``probability of <limit>``),
        value, chosen ("" if no candidate meets the limits), replay, peak, end_step, objective_mean, objective_q05,
        objective_q95, probability_all_limits, and same (whether the choice is the original one). Weights of two domains
        sum to what they summed to.

    Examples
    --------
    >>> bc.sensitivity(bc.decide(draws, {"pt": 0.5, "cpt": 0.5}), draws)  # doctest: +SKIP
    """
    rows = [_row(case, decision.chosen, forecast) for case in _cases(decision.question, decision.table)]
    return pd.DataFrame(rows, columns=["varied", "value", "chosen", "same", *OF_CHOSEN])


def _cases(question: Question, table: pd.DataFrame) -> Iterator[_Case]:
    """Yield what is asked instead; one thing moves at a time."""
    if not callable(question.minimise):
        for name, value, minimise in _weights(question.minimise):
            yield _Case(f"weight of {name}", value, question._replace(minimise=minimise))
    for limit in question.limits:
        for name, value, moved in _limits(limit, table[f"needs {limit}"]):
            limits = tuple(moved if each == limit else each for each in question.limits)
            yield _Case(f"{name} of {limit}", value, question._replace(limits=limits))


def _weights(minimise: Mapping[str, float]) -> Iterator[tuple[str, float, dict[str, float]]]:
    domains = [name for name in minimise if name not in COSTS]
    if len(domains) != 2:
        return
    first, second = domains
    total = minimise[first] + minimise[second]
    for share in WEIGHTS:
        yield first, share * total, {**minimise, first: share * total, second: (1 - share) * total}


def _limits(limit: Limit, needs: pd.Series) -> Iterator[tuple[str, float, Limit]]:
    """Yield other bounds, from the strictest that a candidate meets to the loosest that excludes one, and promises."""
    # rounded up, so that the strictest is met
    between = np.ceil(np.linspace(needs.min(), needs.max(), BOUNDS) * 1e4) / 1e4
    for bound in np.unique([*between, limit.bound]).tolist():
        yield "bound", bound, replace(limit, **{"change" if limit.quantity == "change" else "level": bound})
    for probability in PROBABILITIES:
        yield "probability", probability, replace(limit, probability=probability)


def _row(case: _Case, chosen: str | None, forecast: xr.Dataset) -> dict[str, object]:
    found = decide(forecast, **case.question._asdict())
    row: dict[str, object] = {"varied": case.varied, "value": float(case.value), "chosen": ""}
    if found.chosen is not None:
        best = found.table.set_index("run").loc[found.chosen]
        row |= {name: best[name] for name in OF_CHOSEN if name in best.index} | {"chosen": found.chosen}
    return row | {"same": found.chosen == chosen}
