"""Choose among candidate runs: the lowest risk of the objective among the candidates that meet the limits."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayes_cpt.decisions.limits import Limit
from bayes_cpt.decisions.objectives import COSTS, Minimise, Quantity
from bayes_cpt.decisions.outcomes import ALL, Question, When, check_question, limited, outcomes, samples
from bayes_cpt.decisions.risk import cvar, resolve_risk
from bayes_cpt.decisions.words import conclusion, reason, warnings

FIELDS = ("replay", "peak", "end_step", "parent")
REGRET_LEVEL = 0.9
"""The conditional value at risk of the regret is the mean over the worst tenth of draws."""

type Array = NDArray[Any]
type Columns = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Decision:
    """A choice among candidates, with the table and the draws behind it.

    Parameters
    ----------
    table
        One row per candidate, in the order of the forecast: run, replay, peak, end_step, parent; tokens and flops, if
        known; ``<domain>_loss_`` and ``<domain>_change_`` mean, q05, q95 (nats, at the end of the run or at its best
        checkpoint; change since the transfer point); objective_risk, objective_mean, _q05, _q95; per limit
        ``probability <limit>`` of staying within the bound, ``needs <limit>`` (the smallest bound that the candidate
        would meet) and ``meets <limit>``; ``probability_all_limits`` of meeting all at once;
        feasible; probability_best (share of draws in which its objective is the lowest of the candidates compared: the
        feasible ones, or all if none is feasible); expected_regret (mean over draws of its objective minus the lowest
        objective compared; below 0 if an infeasible candidate would be better) and cvar_regret (the mean over the worst
        tenth of draws); chosen; extrapolates, the settings outside the range of the measured runs, if any; reason;
        warning, if the fit did not converge or its data have findings.
    draws
        See `bayes_cpt.decisions.outcomes.outcomes`.
    chosen
        Name of the chosen run; None if no candidate meets the limits.
    conclusion
        The choice in words.
    question
        Arguments of `decide`: minimise, limits, risk, of, at, joint.

    Examples
    --------
    >>> decision = bc.decide(draws, {"pt": 0.5, "cpt": 0.5})  # doctest: +SKIP
    >>> decision.chosen  # doctest: +SKIP
    'pt_m_wsd000_r030_peak0.002'
    """

    table: pd.DataFrame
    draws: xr.Dataset
    chosen: str | None
    conclusion: str
    question: Question

    @property
    def minimise(self) -> Minimise:
        """The objective."""
        return self.question.minimise

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits, without repeats."""
        return self.question.limits

    @property
    def risk(self) -> str:
        """The risk measure."""
        return self.question.risk


def decide(
    forecast: xr.Dataset,
    minimise: Minimise,
    limits: Iterable[Limit] = (),
    risk: str = "mean",
    *,
    of: Quantity = "change",
    at: When = "end",
    joint: float | None = None,
) -> Decision:
    """Choose the candidate with the lowest risk of the objective among those that meet every limit.

    The objective is the weighted sum of the changes of loss since the transfer point, and of costs by their price.
    Candidates are compared draw by draw, so common uncertainty cancels. Ties are broken by expected regret, then by
    order.

    Parameters
    ----------
    forecast
        Draws of ``loss`` (chain, draw, run, domain, step) and ``transfer_loss`` (chain, draw, run, domain), in nats,
        with coordinates replay, peak, end_step and parent on run, and batch_tokens and model_size to price tokens and
        FLOPs; see `bayes_cpt.forecast`, and `bayes_cpt.forecast_ends` for many candidates.
    minimise
        Weight per domain, 0 or more, and price per unit of ``steps``, ``tokens`` or ``flops``, in nats; see
        `bayes_cpt.parse_objective`. Or a function from the draws of
        `bayes_cpt.decisions.outcomes.outcomes` to a DataArray without the dimension domain, lower is better.
    limits
        Limits that a candidate must meet; see `at_most`.
    risk
        Name of a risk measure in ``RISKS``, optionally with a level: ``cvar @ 0.9``.
    of
        Weigh the ``change`` of loss or the ``loss`` itself: they differ if candidates start at different checkpoints.
    at
        Weigh the ``end`` of the run, or its ``best`` checkpoint: in each draw, the one with the lowest objective of
        those that meet the limits, as one chooses by measured losses. It needs the steps between.
    joint
        Probability, in (0, 1), of meeting all limits at once that is also required.

    Returns
    -------
    Decision
        ``chosen`` is None if no candidate meets all limits.

    Raises
    ------
    DataError
        If a domain is unknown, there is no candidate, or the forecast lacks what is weighed.
    BayesCptError
        If a weight is negative or not finite, the risk measure or its level is unknown, or ``joint`` is out of range
        or there is no limit for it.

    References
    ----------
    Objective: Eq. 5 of Wang et al., ICML 2025, arXiv 2505.07796.

    Examples
    --------
    One draw of two candidates, on two domains, at step 100:

    >>> import bayes_cpt as bc, xarray as xr
    >>> dims = ("chain", "draw", "run", "domain", "step")
    >>> draws = xr.Dataset(
    ...     {
    ...         "loss": (dims, [[[[[2.3], [1.5]], [[2.1], [1.8]]]]]),
    ...         "transfer_loss": (dims[:-1], [[[[2.0, 2.5], [2.0, 2.5]]]]),
    ...     },
    ...     coords={
    ...         "run": ["no_replay", "half"],
    ...         "domain": ["pt", "cpt"],
    ...         "step": [100],
    ...         "replay": ("run", [0.0, 0.5]),
    ...         "peak": ("run", [1e-3, 1e-3]),
    ...         "end_step": ("run", [100, 100]),
    ...         "parent": ("run", ["base", "base"]),
    ...     },
    ... )
    >>> bc.decide(draws, {"pt": 0.5, "cpt": 0.5}).chosen
    'no_replay'
    >>> bc.decide(draws, {"pt": 0.5, "cpt": 0.5}, [bc.at_most("pt", change=0.2)]).chosen
    'half'
    """
    question = Question(minimise, tuple(dict.fromkeys(limits)), risk, of, at, joint)
    check_question(question, forecast["domain"].to_numpy().tolist())
    measure = resolve_risk(risk)
    draws = outcomes(forecast, question)
    columns = _outcomes(draws, measure) | _limits(draws, question.limits)
    table = _compared(columns, question, samples(draws["objective"])).assign(**_extrapolation(forecast))
    leader = table.loc[_ranking(table, question)[0]]
    chosen = str(leader["run"]) if leader["feasible"] else None
    reasons = [reason(row, leader, question, int(table["feasible"].sum())) for _, row in table.iterrows()]
    table = table.assign(chosen=table["run"] == chosen, reason=reasons)
    table = table.assign(warning=warning) if (warning := "; ".join(warnings(draws))) else table
    return Decision(table, draws, chosen, conclusion(table, leader, question), question)


def ranked(decision: Decision) -> pd.Index:
    """Return rows of the table of a decision, best first."""
    return _ranking(decision.table, decision.question)


# Table --------------------------------------------------------------------------------------------------------------


def _summary(name: str, found: Array) -> Columns:
    low, high = np.quantile(found, [0.05, 0.95], axis=-1)
    return {f"{name}_mean": found.mean(axis=-1), f"{name}_q05": low, f"{name}_q95": high}


def _outcomes(draws: xr.Dataset, measure: Callable[[Array], Array]) -> Columns:
    columns = {name: draws[name].to_numpy() for name in ("run", *FIELDS)}
    spent = {name: draws[name].to_numpy() for name in COSTS if name != "steps"}  # steps are end_step
    columns |= {name: cost for name, cost in spent.items() if np.isfinite(cost).all()}
    for domain in draws["domain"].to_numpy():
        for quantity in ("loss", "change"):
            columns |= _summary(f"{domain}_{quantity}", samples(draws[quantity].sel(domain=domain)))
    objective = samples(draws["objective"])
    return columns | {"objective_risk": measure(objective)} | _summary("objective", objective)


def _limits(draws: xr.Dataset, limits: Sequence[Limit]) -> Columns:
    columns: Columns = {}
    within = np.ones((draws.sizes["run"], draws.sizes["chain"] * draws.sizes["draw"]), dtype=bool)
    for limit in limits:
        found = limited(draws, limit)
        probability = (found <= limit.bound).mean(axis=-1)
        columns |= {
            f"probability {limit}": probability,
            f"needs {limit}": np.quantile(found, limit.probability, axis=-1, method="inverted_cdf"),
            f"meets {limit}": probability >= limit.probability,
        }
        within &= found <= limit.bound
    return columns | ({ALL: within.mean(axis=-1)} if limits else {})


def _extrapolation(forecast: xr.Dataset) -> Columns:
    """Return a column with the settings in which candidates are outside the range of the measured runs, if any is."""
    named = forecast["extrapolates"].to_numpy() if "extrapolates" in forecast.coords else np.array([""])
    return {"extrapolates": named} if (named != "").any() else {}


def _compared(columns: Columns, question: Question, objective: Array) -> pd.DataFrame:
    """Return a table with feasibility and the draw-by-draw comparison of the objective (run, sample)."""
    table = pd.DataFrame(columns)
    feasible = table[[f"meets {limit}" for limit in question.limits]].all(axis=1).to_numpy(bool)
    if question.joint is not None:
        feasible = feasible & (table[ALL] >= question.joint).to_numpy()
    compared = feasible | ~feasible.any()
    lowest = objective[compared].min(axis=0)
    best = compared[:, None] & (objective == lowest)
    return table.assign(
        feasible=feasible,
        probability_best=(best / best.sum(axis=0)).mean(axis=1),
        expected_regret=(objective - lowest).mean(axis=1),
        cvar_regret=cvar(objective - lowest, REGRET_LEVEL),
    )


def _ranking(table: pd.DataFrame, question: Question) -> pd.Index:
    """Return rows, best first: the feasible ones by risk; if none is feasible, all by how far they miss the limits."""
    if table["feasible"].any():
        return table[table["feasible"]].sort_values(["objective_risk", "expected_regret"], kind="stable").index
    short = [(limit.probability - table[f"probability {limit}"]).clip(lower=0) for limit in question.limits]
    if question.joint is not None:
        short.append((question.joint - table[ALL]).clip(lower=0))
    over = [table[f"needs {limit}"] - limit.bound for limit in question.limits]
    keys = table.assign(short=pd.concat(short, axis=1).max(axis=1), over=pd.concat(over, axis=1).max(axis=1))
    return keys.sort_values(["short", "over", "expected_regret"], kind="stable").index
