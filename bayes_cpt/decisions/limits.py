"""The limits of a decision, and their text form on the command line."""

import math
import re
from dataclasses import dataclass

from bayes_cpt.decisions.objectives import NAME, as_typed, number, unquoted
from bayes_cpt.errors import BayesCptError, quoted

_LIMIT = re.compile(
    rf"\s*(?P<domain>{NAME}|[^\s<>=@]+)\s*<=\s*(?P<bound>[^\s@]+)"
    r"(?P<throughout>\s+throughout)?\s*(?:@\s*(?P<probability>\S+)\s*)?"
)


@dataclass(frozen=True)
class Limit:
    """A bound on the loss of a domain, or on its change, to be met with some probability; made by `at_most`.

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
    throughout
        Whether the bound is for all steps of the run, not for its end alone.

    Raises
    ------
    BayesCptError
        If not exactly one bound is given, it is not finite, or the probability is not in (0, 1).
    """

    domain: str
    change: float | None
    level: float | None
    probability: float
    throughout: bool = False

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
        return f"{as_typed(self.domain)} <= {self.number(self.bound)}{' throughout' * self.throughout}"

    def number(self, bound: float) -> str:
        """Return a bound as text: a change with a sign, a loss without."""
        return f"{bound:+}" if self.quantity == "change" else f"{bound}"

    def __str__(self) -> str:
        """Return the limit in the form of the command line: ``pt <= +0.05 @ 0.9``."""
        return f"{self.text} @ {self.probability}"


def at_most(
    domain: str,
    *,
    change: float | None = None,
    loss: float | None = None,
    probability: float = 0.9,
    throughout: bool = False,
) -> Limit:
    """Limit the loss of a domain, or its change since the transfer point.

    Parameters
    ----------
    domain
        The limited domain.
    change
        Largest change since the transfer point, in nats.
    loss
        Largest loss, in nats. Give either ``change`` or ``loss``.
    probability
        Required probability of staying within the bound, in (0, 1).
    throughout
        Limit all steps of the run, with this probability for the whole curve, and not its end alone.

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
        throughout,
    )


def parse_limit(text: str) -> Limit:
    """Parse the text form of a limit.

    Parameters
    ----------
    text
        For example ``pt <= +0.05 @ 0.9``. A bound with a sign limits the change, one without (``pt <= 1.7``) the loss.
        With ``throughout`` (``pt <= 3.1 throughout @ 0.9``) it is for the whole curve, else for the end of the run.
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
    bound = number(parts["bound"], f"The limit {quoted(text)}")
    kind = "change" if parts["bound"][0] in "+-" else "loss"
    probability = 0.9 if parts["probability"] is None else number(parts["probability"], f"The limit {quoted(text)}")
    return at_most(
        unquoted(parts["domain"]),
        **{kind: bound},
        probability=probability,
        throughout=parts["throughout"] is not None,
    )
