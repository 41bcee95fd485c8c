"""What a decision is asked, and draws of what it weighs: at the end of each run or at its best checkpoint."""

from collections.abc import Collection
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayes_cpt.decisions.limits import Limit
from bayes_cpt.decisions.objectives import (
    COSTS,
    QUANTITIES,
    Minimise,
    Quantity,
    check_domain,
    check_weights,
    costs,
    objective,
)
from bayes_cpt.errors import BayesCptError, DataError, quoted

type When = Literal["end", "best"]

WHENS: tuple[When, ...] = ("end", "best")
ALL = "probability_all_limits"
"""Column of the probability of meeting all limits at once."""
HIGHEST = "highest_"
"""Prefix of the highest value over the steps of a run."""


class Question(NamedTuple):
    """What a decision is asked; the fields are arguments of `bayes_cpt.decide`, with limits without repeats."""

    minimise: Minimise
    limits: tuple[Limit, ...]
    risk: str
    of: Quantity
    at: When
    joint: float | None


def check_question(question: Question, domains: Collection[str]) -> None:
    """Raise an error unless a question can be asked of forecasts of some domains.

    Raises
    ------
    DataError
        If the objective or a limit names an unknown domain.
    BayesCptError
        If a weight, ``of``, ``at`` or the joint probability is out of range.
    """
    check_weights(question.minimise)
    for name in () if callable(question.minimise) else question.minimise:
        check_domain(name, "The objective", domains, COSTS)
    for limit in question.limits:
        check_domain(limit.domain, f"The limit {quoted(limit.text)}", domains)
    for name, given, right in (("of", question.of, QUANTITIES), ("at", question.at, WHENS)):
        if given not in right:
            raise BayesCptError(f"{name} must be {' or '.join(map(repr, right))}, not {quoted(given)}")
    if question.joint is not None and not question.limits:
        raise BayesCptError("A joint probability is of meeting limits, and there is none; give limits or leave it out.")
    if question.joint is not None and not 0 < question.joint < 1:
        raise BayesCptError(f"The joint probability of all limits is {question.joint:g}; it must lie between 0 and 1.")


def outcomes(forecast: xr.Dataset, question: Question) -> xr.Dataset:
    """Return draws of what a decision weighs.

    Parameters
    ----------
    forecast
        See `bayes_cpt.forecast`.
    question
        What is asked.

    Returns
    -------
    Dataset
        ``loss`` and ``change`` (chain, draw, run, domain) and ``objective`` (chain, draw, run), at the end of each run
        or at the best checkpoint, whose step is ``step`` (chain, draw, run); ``steps``, ``tokens``, ``flops`` (run);
        ``highest_loss`` and ``highest_change`` over all steps, if a limit is for all of them.

    Raises
    ------
    DataError
        If there is no run, the forecast lacks the loss at the end of a run or at its transfer point, or it lacks the
        steps between for a limit or a best checkpoint.
    """
    ends = forecast["end_step"]
    _check(forecast)
    found = _with_costs(_at_end(forecast), forecast) if question.at == "end" else _at_best(forecast, question)
    unknown = ends[found["change"].isnull().any(["chain", "draw", "domain"])]
    if unknown.size:
        raise DataError(_lacks(unknown[0], "has no loss there or at the transfer point; candidates must be CPT runs"))
    found["objective"] = objective(found, question.minimise, question.of)
    for quantity in {limit.quantity for limit in question.limits if limit.throughout}:
        found[HIGHEST + quantity] = _curves(forecast)[quantity].max("step")
    return found.assign_attrs(forecast.attrs)


def _check(forecast: xr.Dataset) -> None:
    ends = forecast["end_step"]
    if not ends.size:
        raise DataError("The forecast has no run; give a plan with at least one candidate.")
    absent = ends[~ends.isin(forecast["step"])] if "step" in forecast.dims else ends[:0]
    if absent.size:
        raise DataError(_lacks(absent[0], "is not a step of the forecast; add it to the steps of the forecast"))


def _at_end(forecast: xr.Dataset) -> xr.DataArray:
    """Return the loss at the end of each run; a forecast without steps has no other."""
    if "step" not in forecast.dims:
        return forecast["loss"]
    return forecast["loss"].sel(step=forecast["end_step"]).drop_vars("step")


def _lacks(end: xr.DataArray, what: str) -> str:
    return f"The end of run {str(end['run'].item())!r}, step {int(end)}, {what}."


def _with_costs(loss: xr.DataArray, forecast: xr.Dataset) -> xr.Dataset:
    found = xr.Dataset({"loss": loss, "change": loss - forecast["transfer_loss"]})
    return found.merge(costs(forecast), compat="override", join="override")


def _curves(forecast: xr.Dataset) -> xr.Dataset:
    """Return loss and change at all steps after the transfer point, with the costs of the whole run."""
    steps = forecast["step"] if "step" in forecast.dims else forecast["end_step"][:0]
    after = steps > 0
    between = after & (steps < forecast["end_step"].max())
    if not between.any():
        raise DataError(
            "The forecast has the ends of runs alone; a limit for all steps (throughout) and the best checkpoint need "
            "steps between: leave out the steps of the forecast."
        )
    return _with_costs(forecast["loss"].isel(step=np.flatnonzero(after)), forecast)


def _at_best(forecast: xr.Dataset, question: Question) -> xr.Dataset:
    """Return the outcomes at the checkpoint with the lowest objective of those that meet the limits, draw by draw."""
    curves = _curves(forecast)
    value = objective(curves, question.minimise, question.of)
    value = value.where(curves["loss"].notnull().all("domain"), np.inf)
    allowed = xr.ones_like(value, dtype=bool)
    for limit in question.limits:
        if not limit.throughout:
            allowed = allowed & (curves[limit.quantity].sel(domain=limit.domain, drop=True) <= limit.bound)
    # where no checkpoint is allowed, the lowest objective of all
    best = value.where(allowed | ~allowed.any("step"), np.inf).argmin("step")
    found = curves[["loss", "change"]].isel(step=best)
    return found.merge(curves[["steps", "tokens", "flops"]], compat="override", join="override").reset_coords("step")


def samples(draws: xr.DataArray) -> NDArray[Any]:
    """Return draws as an array (run, sample)."""
    return draws.transpose("run", "chain", "draw").to_numpy().reshape(draws.sizes["run"], -1)


def limited(draws: xr.Dataset, limit: Limit) -> NDArray[Any]:
    """Return draws (run, sample) of the quantity that a limit bounds."""
    name = (HIGHEST if limit.throughout else "") + limit.quantity
    return samples(draws[name].sel(domain=limit.domain))
