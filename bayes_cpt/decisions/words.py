"""The words in which a decision is explained."""

import math

import pandas as pd
import xarray as xr

from bayes_cpt.decisions.outcomes import ALL, Question


def warnings(draws: xr.Dataset) -> list[str]:
    """Return the warnings of a forecast: of the fit, and of the data."""
    said = [draws.attrs.get("warning"), *draws.attrs.get("findings", "").split("\n")]
    return [warning for warning in said if warning]


def by(risk: str) -> str:
    """Return a risk measure in words."""
    return "on average" if risk == "mean" else f"by {risk}"


def percent(probability: float) -> str:
    """Return a probability in per cent."""
    if 0 < probability < 0.01:
        return "less than 1 %"
    return "more than 99 %" if 0.99 < probability < 1 else f"{100 * probability:.0f} %"


def rounded_down(value: float) -> float:
    """Round to three decimals, so that a probability never looks sufficient if it is not."""
    return math.floor(round(1000 * value, 6)) / 1000


def rounded_up(value: float) -> float:
    """Round to three decimals, so that a bound never looks easier to meet than it is."""
    return math.ceil(round(1000 * value, 6)) / 1000


def violated(row: pd.Series, question: Question) -> str:
    """Return which limits a candidate does not meet."""
    said = [
        f"violates {limit.text}: satisfied with probability {rounded_down(row[f'probability {limit}']):g}, "
        f"{limit.probability:g} required"
        for limit in question.limits
        if not row[f"meets {limit}"]
    ]
    if question.joint is not None and row[ALL] < question.joint:
        said.append(
            f"meets all limits at once with probability {rounded_down(row[ALL]):g}, {question.joint:g} required"
        )
    return "; ".join(said)


def reason(row: pd.Series, leader: pd.Series, question: Question, feasible: int) -> str:
    """Return why a candidate was chosen or not."""
    if not row["feasible"]:
        closest = "closest, but it " if row["run"] == leader["run"] else ""
        return closest + violated(row, question)
    risk = by(question.risk)
    best = f"best in {percent(row['probability_best'])} of draws"
    if row["run"] == leader["run"]:
        return f"chosen: lowest objective {risk} of {_candidates(feasible, question)}, {best}"
    worse = row["objective_risk"] - leader["objective_risk"]
    if worse == 0:
        return f"objective equal {risk}; {leader['run']} is chosen by expected regret, then order; {best}"
    return f"objective {worse:.2g} worse {risk}, {best}"


def conclusion(table: pd.DataFrame, leader: pd.Series, question: Question) -> str:
    """Return the choice in words, and first whether it lies where nothing was measured."""
    if not leader["feasible"]:
        needs = [
            f"{limit.domain} <= {limit.number(rounded_up(leader[f'needs {limit}']))}"
            for limit in question.limits
            if not leader[f"meets {limit}"]
        ]
        would = f" It would meet {' and '.join(needs)}." if needs else ""
        return (
            f"{_none_of(len(table))} {_all(question)}. The closest is {leader['run']}: it "
            f"{violated(leader, question)}.{would}"
        )
    outside = leader.get("extrapolates", "")
    beyond = (
        f"The best lies where nothing was measured ({outside}): measure a run there before relying on it. "
        if outside
        else ""
    )
    value = f"{leader['objective_risk']:+.3f} {by(question.risk)}"
    candidates = _candidates(int(table["feasible"].sum()), question)
    best = f"best in {percent(leader['probability_best'])} of draws"
    return f"{beyond}Choose {leader['run']}: objective {value}, the lowest of {candidates}; {best}."


def _candidates(feasible: int, question: Question) -> str:
    """Return the number of candidates compared, in words."""
    noun = "candidate" if feasible == 1 else "candidates"
    verb = "meets" if feasible == 1 else "meet"
    return f"{feasible} {noun}" + (f" that {verb} {_all(question)}" if question.limits else "")


def _all(question: Question) -> str:
    together = f", and all at once @ {question.joint:g}" if question.joint is not None else ""
    return " and ".join(map(str, question.limits)) + together


def _none_of(count: int) -> str:
    return "The one candidate does not meet" if count == 1 else f"None of the {count} candidates meets"


def identity(row: pd.Series) -> str:
    """Return the settings of a candidate in words."""
    return f"replay {row['replay']:g}, peak LR {row['peak']:g}, {row['end_step']:,} steps from {row['parent']}"


def losses(row: pd.Series, domain: str) -> str:
    """Return the loss and the change of loss of a candidate on a domain, with 90 % intervals."""
    loss, low, high = (row[f"{domain}_loss_{of}"] for of in ("mean", "q05", "q95"))
    change, down, up = (row[f"{domain}_change_{of}"] for of in ("mean", "q05", "q95"))
    return f"{domain}: loss {loss:.3f} ({low:.3f} to {high:.3f}), change {change:+.3f} ({down:+.3f} to {up:+.3f})"
