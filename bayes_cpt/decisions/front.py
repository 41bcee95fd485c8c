"""The trade-off between two domains and cost: which candidates no other beats in all of them (the Pareto front)."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt.decisions.choose import Decision
from bayes_cpt.decisions.objectives import check_domain
from bayes_cpt.decisions.outcomes import samples
from bayes_cpt.errors import DataError

type Array = NDArray[Any]


def front(decision: Decision, domains: tuple[str, str] | None = None) -> pd.DataFrame:
    """Return the probability of each candidate of being on the Pareto front of two losses and the cost.

    Parameters
    ----------
    decision
        The result of `decide`.
    domains
        The two domains; by default the first two of the forecast, those of the old and of the new data.

    Returns
    -------
    DataFrame
        One row per candidate: run, replay, peak, end_step, parent, chosen; ``<domain>_mean``, ``_q05``, ``_q95`` of the
        weighed quantity (loss or change) of both domains; probability_front, the share of draws in which no other
        candidate is at least as good on both domains and at most as long, and better in one of the three;
        front_of_means, whether none is by the means.

    Raises
    ------
    DataError
        If the forecast lacks a domain, or has one alone.

    Examples
    --------
    >>> bc.front(decision).sort_values("probability_front")  # doctest: +SKIP
    """
    names = decision.draws["domain"].to_numpy().tolist()
    if len(names) < 2:
        raise DataError(f"a trade-off is between two domains, and the forecast has {names[0]} alone: fit both")
    first, second = domains or names[:2]
    for domain in (first, second):
        check_domain(domain, "The front", names)
    of_first, of_second = (
        samples(decision.draws[decision.question.of].sel(domain=domain)) for domain in (first, second)
    )
    cost = decision.draws["steps"].to_numpy()
    table = decision.table[["run", "replay", "peak", "end_step", "parent", "chosen", "feasible"]]
    return table.assign(
        **{
            f"{domain}_{of}": decision.table[f"{domain}_{decision.question.of}_{of}"]
            for domain in (first, second)
            for of in ("mean", "q05", "q95")
        },
        probability_front=_on_front(of_first, of_second, cost).mean(axis=1),
        front_of_means=_on_front(of_first.mean(axis=1)[:, None], of_second.mean(axis=1)[:, None], cost)[:, 0],
    )


def _on_front(first: Array, second: Array, cost: Array) -> Array:
    """Return whether each candidate is on the front of its draw (run, sample); ``cost`` (run,) is known."""
    on_front = np.zeros(first.shape, dtype=bool)
    for most in np.unique(cost):
        within = np.flatnonzero(cost <= most)
        here = _lowest_stairs(first[within], second[within], cost[within])
        new = cost[within] == most
        on_front[within[new]] = here[new]
    return on_front


def _lowest_stairs(first: Array, second: Array, cost: Array) -> Array:
    """Return whether no candidate beats each one, of those that cost at most as much as the dearest.

    Sorted by the first loss, then the second, then the cost, a candidate is beaten if one before it has a second loss
    at most as high. Equal candidates do not beat each other.
    """
    order = np.lexsort((np.broadcast_to(cost[:, None], first.shape), second, first), axis=0)
    ranked_first, ranked_second = (np.take_along_axis(values, order, axis=0) for values in (first, second))
    ranked_cost = cost[order]
    before = np.full_like(ranked_second, np.inf)
    before[1:] = np.minimum.accumulate(ranked_second, axis=0)[:-1]
    same = np.zeros(first.shape, dtype=bool)
    same[1:] = (
        (ranked_first[1:] == ranked_first[:-1])
        & (ranked_second[1:] == ranked_second[:-1])
        & (ranked_cost[1:] == ranked_cost[:-1])
    )
    stays = before > ranked_second
    for row in range(1, len(stays)):
        stays[row] |= same[row] & stays[row - 1]
    found = np.empty_like(stays)
    np.put_along_axis(found, order, stays, axis=0)
    return found
