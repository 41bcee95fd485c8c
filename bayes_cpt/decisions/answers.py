"""A decision in words, for a terminal or a report; and the user's own plan judged by it."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayes_cpt.decisions.choose import Decision, decide, ranked
from bayes_cpt.decisions.objectives import objective_text
from bayes_cpt.decisions.outcomes import ALL, Question, samples
from bayes_cpt.decisions.words import (
    by,
    identity,
    losses,
    percent,
    rounded_down,
    rounded_up,
    violated,
    warnings,
)
from bayes_cpt.errors import DataError


def answer(decision: Decision) -> str:
    """Return a decision in words, for a terminal or a report.

    Parameters
    ----------
    decision
        The result of `decide`.

    Returns
    -------
    str
        A few lines: first the warnings of the forecast and of the fitted data; objective and limits, the choice, its
        losses and changes with 90 % intervals, and the next best candidate.

    Examples
    --------
    >>> print(bc.answer(decision))  # doctest: +SKIP
    Minimise 0.5*pt + 0.5*cpt (change of loss since the transfer point), on average
    Keep pt <= +0.2 @ 0.9
    Choose pt_m_wsd000_r030_peak0.002: objective -0.412 on average, the lowest of 14 candidates ...
    """
    order = ranked(decision)
    leader = decision.table.loc[order[0]]
    lines = [
        *(f"Warning: {warning}" for warning in warnings(decision.draws)),
        f"Minimise {objective_text(decision.question.minimise)} ({_weighed(decision)}), {by(decision.question.risk)}",
        *(f"Keep {limit}" for limit in decision.question.limits),
        *([f"Keep all limits at once @ {decision.question.joint:g}"] if decision.question.joint is not None else []),
        decision.conclusion,
        f"  {identity(leader)}",
        *(f"  {losses(leader, domain)}" for domain in decision.draws["domain"].to_numpy()),
        *_best_step(decision, str(leader["run"])),
    ]
    if len(order) > 1:
        following = decision.table.loc[order[1]]
        lines.append(f"Next: {following['run']} ({identity(following)}): {following['reason']}")
    return "\n".join(lines)


def _weighed(decision: Decision) -> str:
    quantity = "change of loss since the transfer point" if decision.question.of == "change" else "loss"
    return quantity + (", at the best checkpoint of each run" if decision.question.at == "best" else "")


def _best_step(decision: Decision, run: str) -> list[str]:
    """Return at which steps the best checkpoint lies, if one was looked for."""
    if decision.question.at == "end":
        return []
    low, middle, high = np.quantile(decision.draws["step"].sel(run=run), [0.05, 0.5, 0.95], method="nearest")
    return [f"  best checkpoint: step {middle:,.0f} ({low:,.0f} to {high:,.0f})"]


def judge(decision: Decision, own: xr.Dataset) -> pd.DataFrame:
    """Compare the user's own plan, and plans near it, with the best candidate.

    Parameters
    ----------
    decision
        The result of `decide`.
    own
        Forecast of the own plan, and after it of plans near it (`bayes_cpt.nearby`), by the same fit, number of draws
        and seed as that of the candidates.

    Returns
    -------
    DataFrame
        First the own plan, then those near it: what the table of a decision says of one candidate, and best, the best
        candidate (chosen, or closest to the limits); worse_mean, worse_q05, worse_q95 (objective minus that of the
        best candidate, draw by draw); probability_better than it; against_own_mean, _q05, _q95 (objective minus that
        of the own plan).

    Raises
    ------
    DataError
        If the draws are not those of the candidates.

    Examples
    --------
    >>> own = bc.resolve(bc.nearby(planned, "mine"), fit.curves)  # doctest: +SKIP
    >>> bc.judge(decision, bc.forecast(fit, own))  # doctest: +SKIP
    """
    judged = decide(own, **decision.question._asdict())
    best = str(decision.table.loc[ranked(decision)[0], "run"])
    against = samples(decision.draws["objective"].sel(run=[best]))
    found = samples(judged.draws["objective"])
    if found.shape[1] != against.shape[1]:
        raise DataError("the own plan and the candidates have different numbers of draws: forecast both in one way")
    columns = judged.table.drop(columns=["chosen", "reason", "probability_best", "expected_regret", "cvar_regret"])
    return columns.assign(
        best=best,
        **_spread("worse", found - against),
        probability_better=(found < against).mean(axis=1),
        **_spread("against_own", found - found[:1]),
    )


def _spread(name: str, found: NDArray[Any]) -> dict[str, NDArray[Any]]:
    low, high = np.quantile(found, [0.05, 0.95], axis=1)
    return {f"{name}_mean": found.mean(axis=1), f"{name}_q05": low, f"{name}_q95": high}


def judgement(decision: Decision, judged: pd.DataFrame) -> str:
    """Return the judgement of the user's own plan in words.

    Parameters
    ----------
    decision, judged
        Argument and result of `judge`.

    Returns
    -------
    str
        A few lines: whether it is allowed, what is lost against the best, which limit binds, and what a little more or
        less replay or peak LR would change.

    Examples
    --------
    >>> print(bc.judgement(decision, judged))  # doctest: +SKIP
    Your plan mine is allowed: it meets pt <= +0.2 @ 0.9.
    """
    own = judged.iloc[0]
    lines = [_allowed(own, decision.question), *_binding(own, decision.question), _lost(own)]
    outside = own.get("extrapolates", "")
    if outside:
        lines.insert(0, f"Your plan lies where nothing was measured ({outside}): measure a run there first.")
    lines += [f"  {_near(row, own)}" for _, row in judged.iloc[1:].iterrows()]
    return "\n".join(lines)


def _allowed(own: pd.Series, question: Question) -> str:
    if not question.limits:
        return f"Your plan {own['run']} is allowed: no limit was given."
    if own["feasible"]:
        return f"Your plan {own['run']} is allowed: it meets {' and '.join(map(str, question.limits))}."
    return f"Your plan {own['run']} is not allowed: it {violated(own, question)}."


def _binding(own: pd.Series, question: Question) -> list[str]:
    """Return the limit with the least probability to spare."""
    if not question.limits:
        return []
    limit = min(question.limits, key=lambda limit: own[f"probability {limit}"] - limit.probability)
    needs = f"{limit.domain} <= {limit.number(rounded_up(own[f'needs {limit}']))}"
    together = f"; all at once with probability {rounded_down(own[ALL]):g}" if len(question.limits) > 1 else ""
    return [
        f"The limit that binds is {limit}: met with probability {rounded_down(own[f'probability {limit}']):g}; "
        f"with {limit.probability:g} it would meet {needs}{together}."
    ]


def _lost(own: pd.Series) -> str:
    if own["run"] == own["best"]:
        return "It is the best of the candidates."
    return (
        f"Against {own['best']} its objective is {own['worse_mean']:+.3f} ({own['worse_q05']:+.3f} to "
        f"{own['worse_q95']:+.3f}); it is better in {percent(own['probability_better'])} of draws."
    )


def _near(row: pd.Series, own: pd.Series) -> str:
    low, high = row["against_own_q05"], row["against_own_q95"]
    sure = "" if low > 0 or high < 0 else ", which may be no difference"
    change = "" if row["feasible"] == own["feasible"] else ", then allowed" if row["feasible"] else ", then not allowed"
    what = str(row["run"]).removeprefix(f"{own['run']} ")
    return f"{what}: objective {row['against_own_mean']:+.4f} ({low:+.4f} to {high:+.4f}){sure}{change}"
