"""The objective of a decision: weighted losses and priced costs, and its text form on the command line."""

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Literal

import xarray as xr

from bayes_cpt.errors import BayesCptError, DataError, hint, quoted

type Minimise = Mapping[str, float] | Callable[[xr.Dataset], xr.DataArray]
"""Weights of domains and prices of costs, or a function of labelled draws."""
type Quantity = Literal["change", "loss"]

COSTS = ("steps", "tokens", "flops")
"""Names of costs that an objective may price, as ``0.5*pt + 0.5*cpt + 1e-5*steps``."""
FLOPS_PER_PARAMETER_AND_TOKEN = 6
"""Forward and backward pass (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
QUANTITIES: tuple[Quantity, ...] = ("change", "loss")
NAME = r"'[^']+'|\"[^\"]+\""
"""A name in quotes."""
_TERM = re.compile(rf"\s*(?:(?P<weight>[^\s*'\"]+)\s*\*)?\s*(?P<domain>{NAME}|[^\s*]+)\s*")
_PLAIN = re.compile(r"[^\s<>=@*+'\"]+")
"""A name that needs no quotes."""


def objective(outcomes: xr.Dataset, minimise: Minimise, of: Quantity) -> xr.DataArray:
    """Return draws of the objective, lower is better.

    Parameters
    ----------
    outcomes
        ``loss`` and ``change`` (..., domain), and the costs of `costs` by run.
    minimise
        Weight by domain and price by cost; or a function of ``outcomes``.
    of
        Whether weights are of the change of loss since the transfer point or of the loss.

    Raises
    ------
    DataError
        If a cost with a price is not known.
    BayesCptError
        If the function does not return draws of each run.

    References
    ----------
    Eq. 5 of Wang et al., ICML 2025, arXiv 2505.07796.
    """
    if callable(minimise):
        return _own(minimise(outcomes), outcomes)
    known = outcomes["domain"].to_numpy().tolist()
    weights = {name: weight for name, weight in minimise.items() if name in known}
    by_domain = xr.DataArray(list(weights.values()), dims="domain", coords={"domain": list(weights)}, name="weight")
    total = xr.dot(outcomes[of].sel(domain=list(weights)), by_domain.astype(float), dim="domain")
    for name, price in minimise.items():
        if name not in weights:
            _check_known(name, outcomes[name])
            total = total + price * outcomes[name]
    return total


def _own(found: object, outcomes: xr.Dataset) -> xr.DataArray:
    wanted = set(outcomes["loss"].dims) - {"domain"}
    if not isinstance(found, xr.DataArray) or set(found.dims) != wanted:
        shape = found.dims if isinstance(found, xr.DataArray) else type(found).__name__
        raise BayesCptError(
            f"The objective function must return a DataArray of the dimensions {', '.join(sorted(map(str, wanted)))}, "
            f"not {shape}; reduce only domain, for example draws['loss'].mean('domain')."
        )
    if not (found.notnull() | outcomes["loss"].isnull().any("domain")).all():
        raise BayesCptError("The objective function returned NaN for a run with a forecast.")
    return found


def costs(forecast: xr.Dataset) -> xr.Dataset:
    """Return the costs of the runs of a forecast, without those of their ancestors, which are spent.

    Parameters
    ----------
    forecast
        With the coordinates end_step and, where known, batch_tokens and model_size on run; see `bayes_cpt.forecast`.

    Returns
    -------
    Dataset
        ``steps``, ``tokens`` (steps x tokens per step) and ``flops`` (6 x model size x tokens) by run; NaN where the
        batch or the model size is not known.

    Examples
    --------
    >>> import xarray as xr
    >>> from bayes_cpt.decisions.objectives import costs
    >>> runs = {"end_step": ("run", [100]), "batch_tokens": ("run", [2048.0]), "model_size": ("run", [1e6])}
    >>> {name: float(cost[0]) for name, cost in costs(xr.Dataset(coords={"run": ["a"], **runs})).items()}
    {'steps': 100.0, 'tokens': 204800.0, 'flops': 1228800000000.0}
    """
    steps = forecast["end_step"].astype(float)
    tokens = steps * _known(forecast, "batch_tokens")
    flops = FLOPS_PER_PARAMETER_AND_TOKEN * _known(forecast, "model_size") * tokens
    found = {"steps": steps, "tokens": tokens, "flops": flops}
    return xr.Dataset({name: cost.drop_vars(set(cost.coords) - {"run"}) for name, cost in found.items()})


def _known(forecast: xr.Dataset, name: str) -> xr.DataArray:
    if name in forecast.coords:
        return forecast[name]
    return xr.full_like(forecast["end_step"], float("nan"), dtype=float)


def _check_known(name: str, cost: xr.DataArray) -> None:
    unknown = cost["run"].to_numpy()[cost.isnull().to_numpy()]
    if unknown.size:
        column = "batch_tokens" if name == "tokens" else "batch_tokens and model_size"
        raise DataError(
            f"The objective has a price for {name}, which is not known for run {str(unknown[0])!r}; give {column} "
            "in the runs.csv of the data or of the plan, or price steps."
        )


def parse_objective(text: str) -> dict[str, float]:
    """Parse the text form of an objective.

    Parameters
    ----------
    text
        For example ``0.5*pt + 0.5*cpt`` or ``cpt``; a domain without a weight has weight 1. A domain with spaces or
        signs in its name is in quotes: ``0.5*"old data" + 0.5*cpt``. ``steps``, ``tokens`` and ``flops`` are costs, and
        their weight is a price: with ``+ 1e-5*steps``, 1,000 steps must lower the losses by 0.01 to pay.

    Returns
    -------
    dict of str to float
        Weight per domain or cost.

    Raises
    ------
    BayesCptError
        If the text has another form, a weight is negative or not finite, or a domain occurs twice.

    References
    ----------
    Eq. 5 of Wang et al., ICML 2025, arXiv 2505.07796.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.parse_objective("pt + 2*cpt + 1e-5*steps")
    {'pt': 1.0, 'cpt': 2.0, 'steps': 1e-05}
    """
    minimise: dict[str, float] = {}
    for term in _terms(text):
        parts = _TERM.fullmatch(term)
        if parts is None:
            raise BayesCptError(f"The objective {quoted(text)} is not of the form '0.5*pt + 0.5*cpt' or 'cpt'.")
        domain, weight = unquoted(parts["domain"]), parts["weight"]
        if domain in minimise:
            raise BayesCptError(
                f"The objective {quoted(text)} has the domain {quoted(domain)} twice; give it one weight."
            )
        minimise[domain] = 1.0 if weight is None else number(weight, f"The objective {quoted(text)}")
    check_weights(minimise)
    return minimise


def _terms(text: str) -> list[str]:
    """Return what is between the pluses that are not within quotes nor of an exponent, as in 1e+3."""
    hidden = re.sub(rf"{NAME}|(?<=\d[eE])\+(?=\d)", lambda found: found[0].replace("+", "\0"), text)
    return [term.replace("\0", "+") for term in hidden.split("+")]


def number(text: str, where: str) -> float:
    """Return a number; raise `BayesCptError` that names the place if it is none."""
    try:
        return float(text)
    except ValueError:
        raise BayesCptError(f"{where} has {quoted(text)} where a number must be.") from None


def unquoted(name: str) -> str:
    """Return a name without its quotes."""
    return name[1:-1] if re.fullmatch(NAME, name) else name


def as_typed(domain: str) -> str:
    """Return a domain as it is typed in an objective or a limit: in quotes if it is not a plain word."""
    return domain if _PLAIN.fullmatch(domain) else f'"{domain}"' if '"' not in domain else f"'{domain}'"


def objective_text(minimise: Minimise) -> str:
    """Return an objective in the form of the command line, ``0.5*pt + 0.5*cpt``; of a function, its name."""
    if callable(minimise):
        return f"{getattr(minimise, '__name__', 'an own function')}()"
    return " + ".join(
        as_typed(domain) if weight == 1 else f"{weight:g}*{as_typed(domain)}" for domain, weight in minimise.items()
    )


def check_weights(minimise: Minimise) -> None:
    """Raise `BayesCptError` unless all weights are finite and at least 0, and one is above 0."""
    if callable(minimise):
        return
    for domain, weight in minimise.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise BayesCptError(
                f"The objective has the weight {weight:g} for {quoted(domain)}; a weight must be a number "
                "of at least 0."
            )
    if not any(weight for name, weight in minimise.items() if name not in COSTS):
        raise BayesCptError("The objective has no weight above 0; give at least one, for example '0.5*pt + 0.5*cpt'.")


def check_domain(domain: str, where: str, domains: Collection[str], others: Collection[str] = ()) -> None:
    """Raise `DataError` if a place names a domain that is not one of ``domains`` or ``others``."""
    if domain not in domains and domain not in others:
        known = ", ".join(sorted(domains))
        raise DataError(f"{where} names the domain {quoted(domain)}{hint(domain, domains)}; the domains are {known}.")
