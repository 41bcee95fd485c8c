"""The objective and the limits of a decision, and their text form on the command line."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bayes_cpt.errors import BayesCptError, DataError, hint, quoted

_QUOTED = r"'[^']+'|\"[^\"]+\""
_LIMIT = re.compile(
    rf"\s*(?P<domain>{_QUOTED}|[^\s<>=@]+)\s*<=\s*(?P<bound>[^\s@]+)\s*(?:@\s*(?P<probability>\S+)\s*)?"
)
_TERM = re.compile(rf"\s*(?:(?P<weight>[^\s*'\"]+)\s*\*)?\s*(?P<domain>{_QUOTED}|[^\s*]+)\s*")
_PLAIN = re.compile(r"[^\s<>=@*+'\"]+")
"""A name that needs no quotes."""


@dataclass(frozen=True)
class Limit:
    """A bound on the final loss of a domain, or on its change, to be met with some probability; made by `at_most`.

    Parameters
    ----------
    domain
        The limited domain.
    change
        Largest change since the transfer point, in nats; None if ``level`` is given.
    level
        Largest loss, in nats; None if ``change`` is given.
    probability
        Required probability of staying within the bound, in (0, 1).

    Raises
    ------
    BayesCptError
        If not exactly one bound is given, it is not finite, or the probability is not in (0, 1).
    """

    domain: str
    change: float | None
    level: float | None
    probability: float

    def __post_init__(self) -> None:
        if (self.change is None) == (self.level is None):
            raise BayesCptError(f"A limit on {self.domain!r} needs either a change or a loss; give one of the two.")
        if not math.isfinite(self.bound):
            raise BayesCptError(f"A limit on {self.domain!r} has the bound {self.bound}; it must be a finite number.")
        if not 0 < self.probability < 1:
            raise BayesCptError(
                f"A limit on {self.domain!r} has probability {self.probability:g}; it must lie between 0 and 1."
            )

    @property
    def bound(self) -> float:
        """The largest change or loss."""
        return self.level if self.change is None else self.change  # pyright: ignore[reportReturnType]

    @property
    def quantity(self) -> str:
        """The limited quantity: ``change`` or ``loss``."""
        return "loss" if self.change is None else "change"

    @property
    def text(self) -> str:
        """The bound in the form of the command line, without the probability: ``pt <= +0.05``."""
        return f"{_as_typed(self.domain)} <= {self.number(self.bound)}"

    def number(self, bound: float) -> str:
        """Return a bound as text: a change with a sign, a loss without."""
        return f"{bound:+}" if self.quantity == "change" else f"{bound}"

    def __str__(self) -> str:
        """Return the limit in the form of the command line: ``pt <= +0.05 @ 0.9``."""
        return f"{self.text} @ {self.probability}"


def at_most(domain: str, *, change: float | None = None, loss: float | None = None, probability: float = 0.9) -> Limit:
    """Limit the final loss of a domain, or its change since the transfer point.

    Parameters
    ----------
    domain
        The limited domain.
    change
        Largest change since the transfer point, in nats.
    loss
        Largest loss at the end of the run, in nats. Give either ``change`` or ``loss``.
    probability
        Required probability of staying within the bound, in (0, 1).

    Returns
    -------
    Limit
        For `decide`.

    Raises
    ------
    BayesCptError
        If not exactly one of the two is given, it is not finite, or the probability is not in (0, 1).

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> print(bc.at_most("pt", change=0.05))
    pt <= +0.05 @ 0.9
    """
    return Limit(
        domain,
        None if change is None else float(change),
        None if loss is None else float(loss),
        float(probability),
    )


def parse_limit(text: str) -> Limit:
    """Parse the text form of a limit.

    Parameters
    ----------
    text
        For example ``pt <= +0.05 @ 0.9``. A bound with a sign limits the change, one without (``pt <= 1.7``) the loss.
        The probability is 0.9 if not given. A domain with spaces or signs in its name is in quotes.

    Returns
    -------
    Limit
        See `at_most`.

    Raises
    ------
    BayesCptError
        If the text has another form, or a number in it is out of range.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.parse_limit("pt <= +0.05 @ 0.95") == bc.at_most("pt", change=0.05, probability=0.95)
    True
    >>> bc.parse_limit("pt <= 1.7") == bc.at_most("pt", loss=1.7)
    True
    """
    parts = _LIMIT.fullmatch(text)
    if parts is None:
        raise BayesCptError(f"The limit {quoted(text)} is not of the form 'pt <= +0.05 @ 0.9' or 'pt <= 1.7'.")
    bound = _number(parts["bound"], f"The limit {quoted(text)}")
    probability = 0.9 if parts["probability"] is None else _number(parts["probability"], f"The limit {quoted(text)}")
    if parts["bound"][0] in "+-":
        return at_most(_unquoted(parts["domain"]), change=bound, probability=probability)
    return at_most(_unquoted(parts["domain"]), loss=bound, probability=probability)


def _terms(text: str) -> list[str]:
    """Return what is between the pluses that are not within quotes."""
    hidden = re.sub(_QUOTED, lambda found: found[0].replace("+", "\0"), text)
    return [term.replace("\0", "+") for term in hidden.split("+")]


def _unquoted(name: str) -> str:
    return name[1:-1] if re.fullmatch(_QUOTED, name) else name


def _as_typed(domain: str) -> str:
    """Return a domain as it is typed in an objective or a limit: in quotes if it is not a plain word."""
    return domain if _PLAIN.fullmatch(domain) else f'"{domain}"' if '"' not in domain else f"'{domain}'"


def parse_objective(text: str) -> dict[str, float]:
    """Parse the text form of an objective.

    Parameters
    ----------
    text
        For example ``0.5*pt + 0.5*cpt`` or ``cpt``; a domain without a weight has weight 1. A domain with spaces or
        signs in its name is in quotes: ``0.5*"old data" + 0.5*cpt``.

    Returns
    -------
    dict of str to float
        Weight per domain.

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
    >>> bc.parse_objective("pt + 2*cpt")
    {'pt': 1.0, 'cpt': 2.0}
    """
    minimise: dict[str, float] = {}
    for term in _terms(text):
        parts = _TERM.fullmatch(term)
        if parts is None:
            raise BayesCptError(f"The objective {quoted(text)} is not of the form '0.5*pt + 0.5*cpt' or 'cpt'.")
        domain, weight = _unquoted(parts["domain"]), parts["weight"]
        if domain in minimise:
            raise BayesCptError(
                f"The objective {quoted(text)} has the domain {quoted(domain)} twice; give it one weight."
            )
        minimise[domain] = 1.0 if weight is None else _number(weight, f"The objective {quoted(text)}")
    check_weights(minimise)
    return minimise


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BayesCptError(f"{where} has {quoted(text)} where a number must be.") from None


def objective_text(minimise: Mapping[str, float]) -> str:
    """Return an objective in the form of the command line: ``0.5*pt + 0.5*cpt``."""
    return " + ".join(
        _as_typed(domain) if weight == 1 else f"{weight:g}*{_as_typed(domain)}" for domain, weight in minimise.items()
    )


def check_weights(minimise: Mapping[str, float]) -> None:
    """Raise `BayesCptError` unless all weights are finite and at least 0, and one is above 0."""
    for domain, weight in minimise.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise BayesCptError(
                f"The objective has the weight {weight:g} for {quoted(domain)}; a weight must be a number "
                "of at least 0."
            )
    if not any(minimise.values()):
        raise BayesCptError("The objective has no weight above 0; give at least one, for example '0.5*pt + 0.5*cpt'.")


def check_domains(minimise: Mapping[str, float], limits: Iterable[Limit], domains: Collection[str]) -> None:
    """Raise `DataError` if the objective or a limit names a domain that is not one of ``domains``."""
    named = dict.fromkeys(minimise, "The objective") | {
        limit.domain: f"The limit {quoted(limit.text)}" for limit in limits
    }
    for domain, where in named.items():
        if domain not in domains:
            known = ", ".join(sorted(domains))
            raise DataError(
                f"{where} names the domain {quoted(domain)}{hint(domain, domains)}; the domains are {known}."
            )
