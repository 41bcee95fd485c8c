"""What a check finds: a sentence, with the run, the step and the numbers that it is about."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from bayes_cpt.runs.table_checks import listed


@dataclass(frozen=True)
class Finding:
    """Something in the curves that is well-formed and hardly right.

    Parameters
    ----------
    name
        What was found: a key of `bayes_cpt.plausibility.checks.CHECKS`.
    severity
        ``refusal``: no reading of the data makes sense; ``warning``: one might.
    run
        The run, or the first of several.
    step
        The step, or the first of several; -1 if the finding is about no step.
    numbers
        The numbers that do not fit each other.
    sentence
        All of it in words, with what is likely meant.
    accepted
        Whether the user has said that the data are right all the same.

    Examples
    --------
    >>> from bayes_cpt.plausibility.findings import Finding
    >>> print(Finding("zero-learning-rate", "refusal", "a", 1, (0.0,), "run 'a' has LR 0 at every step"))
    run 'a' has LR 0 at every step (if the data are right: --accept zero-learning-rate)
    """

    name: str
    severity: Literal["refusal", "warning"]
    run: str
    step: int
    numbers: tuple[float, ...]
    sentence: str
    accepted: bool = False

    def __str__(self) -> str:
        return f"{self.sentence} ({'accepted' if self.accepted else f'if the data are right: --accept {self.name}'})"

    @property
    def is_refused(self) -> bool:
        """Whether no fit may use the data."""
        return self.severity == "refusal" and not self.accepted

    @property
    def is_shown(self) -> bool:
        """Whether it stands with each result: an accepted warning does not, an accepted refusal does."""
        return self.severity == "refusal" or not self.accepted


def accepting(findings: Iterable[Finding], names: Sequence[str]) -> list[Finding]:
    """Return the findings, those of some names as accepted."""
    return [replace(finding, accepted=finding.name in names) for finding in findings]


def as_text(findings: Sequence[Finding]) -> str:
    """Return findings as text for a file."""
    return json.dumps([asdict(finding) for finding in findings])


def from_text(text: str) -> tuple[Finding, ...]:
    """Return the findings from text that `as_text` returned."""
    return tuple(Finding(**{**values, "numbers": tuple(values["numbers"])}) for values in json.loads(text))


def sentences(findings: Iterable[Finding]) -> list[str]:
    """Return the sentences that stand with each result."""
    return [finding.sentence for finding in findings if finding.is_shown]


def also(runs: Iterable[str], first: str) -> str:
    """Return the words that say of which other runs the same is true."""
    others = [repr(run) for run in runs if run != first]
    return f" (so {'do' if len(others) > 1 else 'does'} {listed(others)})" if others else ""
