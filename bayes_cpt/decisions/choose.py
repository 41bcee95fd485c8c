"""Choose among candidate runs: the lowest risk of the objective among the candidates that meet the limits."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayes_cpt.decisions.limits import Limit, check_domains, check_weights, objective_text
from bayes_cpt.decisions.risk import resolve_risk
from bayes_cpt.errors import DataError

FIELDS = ("replay", "peak", "end_step", "parent")

type Array = NDArray[Any]
type Columns = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Decision:
    """A choice among candidates, with the table and the draws behind it.

    Parameters
    ----------
    table
        One row per candidate, in the order of the forecast: run, replay, peak, end_step, parent; ``<domain>_loss_``
        and ``<domain>_change_`` mean, q05, q95 (nats, at the end of the run; change since the transfer point);
        objective_risk, objective_mean, _q05, _q95; per limit ``probability <limit>`` of staying within the bound,
        ``needs <limit>`` (the smallest bound that the candidate would meet) and ``meets <limit>``; feasible;
        probability_best (share of draws in which its objective is the lowest of the candidates compared: the feasible
        ones, or all if none is feasible); expected_regret (mean over draws of its objective minus the lowest objective
        compared; below 0 if an infeasible candidate would be better); chosen; reason.
    draws
        ``loss`` and ``change`` (chain, draw, run, domain) at the end of each run, ``objective`` (chain, draw, run).
    chosen
        Name of the chosen run; None if no candidate meets the limits.
    conclusion
        The choice in words.
    minimise, limits, risk
        Arguments of `decide`.

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
    minimise: Mapping[str, float]
    limits: tuple[Limit, ...]
    risk: str


def decide(
    forecast: xr.Dataset, minimise: Mapping[str, float], limits: Iterable[Limit] = (), risk: str = "mean"
) -> Decision:
    """Choose the candidate with the lowest risk of the objective among those that meet every limit.

    The objective is the weighted sum of the changes of loss since the transfer point. Candidates are compared draw by
    draw, so common uncertainty cancels. Ties are broken by expected regret, then by order.

    Parameters
    ----------
    forecast
        Draws of ``loss`` (chain, draw, run, domain, step) and ``transfer_loss`` (chain, draw, run, domain), in nats,
        with coordinates replay, peak, end_step and parent on run; see `bayes_cpt.forecast`.
    minimise
        Weight per domain, 0 or more.
    limits
        Limits that a candidate must meet; see `at_most`.
    risk
        Name of a risk measure in ``RISKS``, optionally with a level: ``cvar @ 0.9``.

    Returns
    -------
    Decision
        ``chosen`` is None if no candidate meets all limits.

    Raises
    ------
    DataError
        If a domain is unknown, there is no candidate, or the forecast lacks the loss at the end of a run.
    BayesCptError
        If a weight is negative or not finite, or the risk measure or its level is unknown.

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
    distinct = tuple(dict.fromkeys(limits))
    check_weights(minimise)
    check_domains(minimise, distinct, forecast["domain"].to_numpy().tolist())
    measure = resolve_risk(risk)
    draws = final_draws(forecast, minimise)
    table = _compared(_outcomes(draws, measure) | _limits(draws, distinct), distinct, _samples(draws["objective"]))
    leader = table.loc[_ranking(table, distinct)[0]]
    chosen = str(leader["run"]) if leader["feasible"] else None
    reasons = [_reason(row, leader, distinct, risk, int(table["feasible"].sum())) for _, row in table.iterrows()]
    table = table.assign(chosen=table["run"] == chosen, reason=reasons)
    return Decision(table, draws, chosen, _conclusion(table, leader, distinct, risk), dict(minimise), distinct, risk)


# Draws --------------------------------------------------------------------------------------------------------------


def final_draws(forecast: xr.Dataset, minimise: Mapping[str, float]) -> xr.Dataset:
    """Return draws of the loss and its change at the end of each run, and of the objective.

    Raises
    ------
    DataError
        If there is no run, or the forecast lacks the loss at the end of a run or at its transfer point.
    """
    ends = forecast["end_step"]
    if not ends.size:
        raise DataError("The forecast has no run; give a plan with at least one candidate.")
    absent = ends[~ends.isin(forecast["step"])]
    if absent.size:
        raise DataError(_lacks(absent[0], "is not a step of the forecast; add it to the steps of the forecast"))
    loss = forecast["loss"].sel(step=ends).drop_vars("step")
    change = loss - forecast["transfer_loss"]
    unknown = ends[change.isnull().any(["chain", "draw", "domain"])]  # noqa: PD003 - xarray
    if unknown.size:
        raise DataError(_lacks(unknown[0], "has no loss there or at the transfer point; candidates must be CPT runs"))
    weights = xr.DataArray(list(minimise.values()), dims="domain", coords={"domain": list(minimise)})
    objective = xr.dot(change.sel(domain=list(minimise)), weights, dim="domain")
    return xr.Dataset({"loss": loss, "change": change, "objective": objective}, attrs=forecast.attrs)


def _lacks(end: xr.DataArray, what: str) -> str:
    return f"The end of run {str(end['run'].item())!r}, step {int(end)}, {what}."


def _samples(draws: xr.DataArray) -> Array:
    """Return draws as an array (run, sample)."""
    return draws.transpose("run", "chain", "draw").to_numpy().reshape(draws.sizes["run"], -1)


# Table --------------------------------------------------------------------------------------------------------------


def _summary(name: str, samples: Array) -> Columns:
    low, high = np.quantile(samples, [0.05, 0.95], axis=-1)
    return {f"{name}_mean": samples.mean(axis=-1), f"{name}_q05": low, f"{name}_q95": high}


def _outcomes(draws: xr.Dataset, measure: Callable[[Array], Array]) -> Columns:
    columns = {name: draws[name].to_numpy() for name in ("run", *FIELDS)}
    for domain in draws["domain"].to_numpy():
        for quantity in ("loss", "change"):
            columns |= _summary(f"{domain}_{quantity}", _samples(draws[quantity].sel(domain=domain)))
    objective = _samples(draws["objective"])
    return columns | {"objective_risk": measure(objective)} | _summary("objective", objective)


def _limits(draws: xr.Dataset, limits: Sequence[Limit]) -> Columns:
    columns: Columns = {}
    for limit in limits:
        samples = _samples(draws[limit.quantity].sel(domain=limit.domain))
        probability = (samples <= limit.bound).mean(axis=-1)
        columns |= {
            f"probability {limit}": probability,
            f"needs {limit}": np.quantile(samples, limit.probability, axis=-1, method="inverted_cdf"),
            f"meets {limit}": probability >= limit.probability,
        }
    return columns


def _compared(columns: Columns, limits: Sequence[Limit], objective: Array) -> pd.DataFrame:
    """Return a table with feasibility and the draw-by-draw comparison of the objective (run, sample)."""
    table = pd.DataFrame(columns)
    feasible = table[[f"meets {limit}" for limit in limits]].all(axis=1).to_numpy(bool)
    compared = feasible | ~feasible.any()
    lowest = objective[compared].min(axis=0)
    best = compared[:, None] & (objective == lowest)
    return table.assign(
        feasible=feasible,
        probability_best=(best / best.sum(axis=0)).mean(axis=1),
        expected_regret=(objective - lowest).mean(axis=1),
    )


def _ranking(table: pd.DataFrame, limits: Sequence[Limit]) -> pd.Index:
    """Return rows, best first: the feasible ones by risk; if none is feasible, all by how far they miss the limits."""
    if table["feasible"].any():
        return table[table["feasible"]].sort_values(["objective_risk", "expected_regret"], kind="stable").index
    short = [(limit.probability - table[f"probability {limit}"]).clip(lower=0) for limit in limits]
    over = [table[f"needs {limit}"] - limit.bound for limit in limits]
    keys = table.assign(short=pd.concat(short, axis=1).max(axis=1), over=pd.concat(over, axis=1).max(axis=1))
    return keys.sort_values(["short", "over", "expected_regret"], kind="stable").index


# Words --------------------------------------------------------------------------------------------------------------


def _by(risk: str) -> str:
    return "on average" if risk == "mean" else f"by {risk}"


def _percent(probability: float) -> str:
    if 0 < probability < 0.01:
        return "less than 1 %"
    return "more than 99 %" if 0.99 < probability < 1 else f"{100 * probability:.0f} %"


def _rounded_down(value: float) -> float:
    """Round to three decimals, so that a probability never looks sufficient if it is not."""
    return math.floor(round(1000 * value, 6)) / 1000


def _rounded_up(value: float) -> float:
    """Round to three decimals, so that a bound never looks easier to meet than it is."""
    return math.ceil(round(1000 * value, 6)) / 1000


def _violated(row: pd.Series, limits: Sequence[Limit]) -> str:
    return "; ".join(
        f"violates {limit.text}: satisfied with probability {_rounded_down(row[f'probability {limit}']):g}, "
        f"{limit.probability:g} required"
        for limit in limits
        if not row[f"meets {limit}"]
    )


def _reason(row: pd.Series, leader: pd.Series, limits: Sequence[Limit], risk: str, feasible: int) -> str:
    if not row["feasible"]:
        closest = "closest, but it " if row["run"] == leader["run"] else ""
        return closest + _violated(row, limits)
    best = f"best in {_percent(row['probability_best'])} of draws"
    if row["run"] == leader["run"]:
        return f"chosen: lowest objective {_by(risk)} of {_candidates(feasible, limits)}, {best}"
    worse = row["objective_risk"] - leader["objective_risk"]
    if worse == 0:
        return f"objective equal {_by(risk)}; {leader['run']} is chosen by expected regret, then order; {best}"
    return f"objective {worse:.2g} worse {_by(risk)}, {best}"


def _candidates(feasible: int, limits: Sequence[Limit]) -> str:
    """Return the number of candidates compared, in words."""
    noun = "candidate" if feasible == 1 else "candidates"
    verb = "meets" if feasible == 1 else "meet"
    return f"{feasible} {noun}" + (f" that {verb} {_all(limits)}" if limits else "")


def _all(limits: Sequence[Limit]) -> str:
    return " and ".join(map(str, limits))


def _none_of(count: int) -> str:
    return "The one candidate does not meet" if count == 1 else f"None of the {count} candidates meets"


def _conclusion(table: pd.DataFrame, leader: pd.Series, limits: Sequence[Limit], risk: str) -> str:
    if not leader["feasible"]:
        needs = (
            f"{limit.domain} <= {limit.number(_rounded_up(leader[f'needs {limit}']))}"
            for limit in limits
            if not leader[f"meets {limit}"]
        )
        return (
            f"{_none_of(len(table))} {_all(limits)}. The closest is {leader['run']}: it "
            f"{_violated(leader, limits)}. It would meet {' and '.join(needs)}."
        )
    value = f"{leader['objective_risk']:+.3f} {_by(risk)}"
    candidates = _candidates(int(table["feasible"].sum()), limits)
    best = f"best in {_percent(leader['probability_best'])} of draws"
    return f"Choose {leader['run']}: objective {value}, the lowest of {candidates}; {best}."


def answer(decision: Decision) -> str:
    """Return a decision in words, for a terminal or a report.

    Parameters
    ----------
    decision
        The result of `decide`.

    Returns
    -------
    str
        A few lines: objective and limits, the choice, its losses and changes with 90 % intervals, the next best
        candidate, and the warnings of the forecast and of the fitted data.

    Examples
    --------
    >>> print(bc.answer(decision))  # doctest: +SKIP
    Minimise 0.5*pt + 0.5*cpt (change of loss since the transfer point), on average
    Keep pt <= +0.2 @ 0.9
    Choose pt_m_wsd000_r030_peak0.002: objective -0.412 on average, the lowest of 14 candidates ...
    """
    order = _ranking(decision.table, decision.limits)
    leader = decision.table.loc[order[0]]
    lines = [
        f"Minimise {objective_text(decision.minimise)} (change of loss since the transfer point), {_by(decision.risk)}",
        *(f"Keep {limit}" for limit in decision.limits),
        decision.conclusion,
        f"  {_identity(leader)}",
        *(f"  {_line(leader, domain)}" for domain in decision.draws["domain"].to_numpy()),
    ]
    if len(order) > 1:
        following = decision.table.loc[order[1]]
        lines.append(f"Next: {following['run']} ({_identity(following)}): {following['reason']}")
    warnings = [decision.draws.attrs.get("warning"), *decision.draws.attrs.get("findings", "").split("\n")]
    return "\n".join([*lines, *(f"Warning: {warning}" for warning in warnings if warning)])


def _identity(row: pd.Series) -> str:
    return f"replay {row['replay']:g}, peak LR {row['peak']:g}, {row['end_step']:,} steps from {row['parent']}"


def _line(row: pd.Series, domain: str) -> str:
    loss, low, high = (row[f"{domain}_loss_{of}"] for of in ("mean", "q05", "q95"))
    change, down, up = (row[f"{domain}_change_{of}"] for of in ("mean", "q05", "q95"))
    return f"{domain}: loss {loss:.3f} ({low:.3f} to {high:.3f}), change {change:+.3f} ({down:+.3f} to {up:+.3f})"
