"""What a decision is asked: an objective to minimise, limits to keep, and the text the command line gives them in."""

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bayes_cpt.errors import BayesCptError, DataError, hint

_LIMIT = re.compile(r"\s*(?P<domain>[^\s<>=@]+)\s*<=\s*(?P<bound>[^\s@]+)\s*(?:@\s*(?P<probability>\S+)\s*)?")
_TERM = re.compile(r"\s*(?:(?P<weight>[^\s*]+)\s*\*)?\s*(?P<domain>[^\s*]+)\s*")


@dataclass(frozen=True)
class Limit:
    """A domain's final loss, or its change, stays at or below a bound with some probability; see `at_most`.

    Parameters
    ----------
    domain
        The domain whose loss is limited.
    change
        Largest change against the transfer point, in nats; None if ``level`` is given.
    level
        Largest loss, in nats; None if ``change`` is given.
    probability
        The probability with which it must hold, in (0, 1).

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
            raise BayesCptError(f"A limit on {self.domain!r} needs either a change or a loss: give one of the two.")
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
        """What is limited: ``change`` or ``loss``."""
        return "loss" if self.change is None else "change"

    @property
    def text(self) -> str:
        """The bound as the command line writes it, without the probability: ``pt <= +0.05``."""
        return f"{self.domain} <= {self.number(self.bound)}"

    def number(self, bound: float) -> str:
        """Return a bound of this kind as text: a change with its sign, a loss without."""
        return f"{bound:+}" if self.quantity == "change" else f"{bound}"

    def __str__(self) -> str:
        """Return the limit as the command line writes it: ``pt <= +0.05 @ 0.9``."""
        return f"{self.text} @ {self.probability}"


def at_most(domain: str, *, change: float | None = None, loss: float | None = None, probability: float = 0.9) -> Limit:
    """Limit the change against the transfer point, or the final loss, of a domain; both in nats.

    Raises
    ------
    BayesCptError
        If not exactly one of the two is given, it is not finite, or the probability is not in (0, 1).
    """
    return Limit(
        domain,
        None if change is None else float(change),
        None if loss is None else float(loss),
        float(probability),
    )


def parse_limit(text: str) -> Limit:
    """Read ``pt <= +0.05 @ 0.9`` (a sign: the change) or ``pt <= 1.7`` (no sign: the loss; probability 0.9).

    Raises
    ------
    BayesCptError
        If the text has another form, or a number in it can not be.
    """
    parts = _LIMIT.fullmatch(text)
    if parts is None:
        raise BayesCptError(f"The limit {text!r} is not of the form 'pt <= +0.05 @ 0.9' or 'pt <= 1.7'.")
    bound = _number(parts["bound"], f"The limit {text!r}")
    probability = 0.9 if parts["probability"] is None else _number(parts["probability"], f"The limit {text!r}")
    if parts["bound"][0] in "+-":
        return at_most(parts["domain"], change=bound, probability=probability)
    return at_most(parts["domain"], loss=bound, probability=probability)


def parse_objective(text: str) -> dict[str, float]:
    """Read ``0.5*pt + 0.5*cpt``, or ``pt + 2*cpt``, or ``cpt``: the weights of Eq. 5 (arXiv 2505.07796) by domain.

    Raises
    ------
    BayesCptError
        If the text has another form, a weight can not be, or a domain comes twice.
    """
    minimise: dict[str, float] = {}
    for term in text.split("+"):
        parts = _TERM.fullmatch(term)
        if parts is None:
            raise BayesCptError(f"The objective {text!r} is not of the form '0.5*pt + 0.5*cpt' or 'cpt'.")
        if parts["domain"] in minimise:
            raise BayesCptError(f"The objective {text!r} has the domain {parts['domain']!r} twice; give it one weight.")
        weight = parts["weight"]
        minimise[parts["domain"]] = 1.0 if weight is None else _number(weight, f"The objective {text!r}")
    check_weights(minimise)
    return minimise


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BayesCptError(f"{where} has {text!r} where a number must be.") from None


def objective_text(minimise: Mapping[str, float]) -> str:
    """Return an objective as the command line writes it: ``0.5*pt + 0.5*cpt``."""
    return " + ".join(domain if weight == 1 else f"{weight:g}*{domain}" for domain, weight in minimise.items())


def check_weights(minimise: Mapping[str, float]) -> None:
    """Raise `BayesCptError` unless the weights are finite, none is negative and one is above 0."""
    for domain, weight in minimise.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise BayesCptError(f"The objective weighs {domain!r} by {weight:g}; a weight is a number from 0 up.")
    if not any(minimise.values()):
        raise BayesCptError("The objective weighs no domain above 0; give one, such as '0.5*pt + 0.5*cpt'.")


def check_domains(minimise: Mapping[str, float], limits: Iterable[Limit], domains: Collection[str]) -> None:
    """Raise `DataError` if the objective or a limit names a domain that is not one of ``domains``."""
    named = dict.fromkeys(minimise, "The objective") | {limit.domain: f"The limit {limit.text!r}" for limit in limits}
    for domain, where in named.items():
        if domain not in domains:
            known = ", ".join(sorted(domains))
            raise DataError(f"{where} names the domain {domain!r}{hint(domain, domains)}; the domains are {known}.")
