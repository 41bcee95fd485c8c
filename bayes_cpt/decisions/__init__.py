"""Decisions under risk: which candidate run to start, given draws of its forecast; never sees a model."""

from bayes_cpt.decisions.choose import Decision, answer, decide
from bayes_cpt.decisions.limits import Limit, at_most, objective_text, parse_limit, parse_objective
from bayes_cpt.decisions.risk import RISKS, resolve_risk

__all__ = [
    "RISKS",
    "Decision",
    "Limit",
    "answer",
    "at_most",
    "decide",
    "objective_text",
    "parse_limit",
    "parse_objective",
    "resolve_risk",
]
