"""All checks of plausibility, by name, and what they find in curves."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.registry import Registry
from bayes_cpt.errors import CurvesError, PlausibilityWarning
from bayes_cpt.plausibility.checkpoints import two_losses
from bayes_cpt.plausibility.findings import Finding, accepting, as_text
from bayes_cpt.plausibility.learning_rates import (
    batch_tokens_unit,
    coarse_learning_rate,
    learning_rate_unit,
    rounded_learning_rate,
    zero_learning_rate,
)
from bayes_cpt.plausibility.losses import mixture_as_cpt, replay_contradicted, rising_loss
from bayes_cpt.plausibility.outliers import MEAN, OUTLIER, mean_as_last, outliers, outlying_points, without
from bayes_cpt.plausibility.steps import counter_restarts, micro_steps, step_offset, tokens_for_steps
from bayes_cpt.plausibility.units import loss_unit
from bayes_cpt.runs.curves import Curves


class Check(NamedTuple):
    """A check: what it looks for, in words, and how it finds it."""

    looks_for: str
    find: Callable[[Curves], Iterator[Finding]]


FIRST = "tokens-for-steps"
"""The check without which others would need memory for each of billions of steps."""
CHECKS: Registry[Check] = Registry(
    "finding",
    {
        FIRST: Check("steps that are tokens", tokens_for_steps),
        "zero-learning-rate": Check("an LR of 0 while the loss moves", zero_learning_rate),
        "two-losses": Check("one checkpoint with two losses", two_losses),
        "micro-steps": Check("LRs by micro-step, losses by optimiser step", micro_steps),
        "step-offset": Check("steps that go on from those of the parent", step_offset),
        "counter-restarts": Check("a counter that restarted: two curves interleave", counter_restarts),
        "rounded-learning-rate": Check("LRs with too few decimals", rounded_learning_rate),
        "coarse-learning-rate": Check("a peak or a curved schedule between few rows", coarse_learning_rate),
        "learning-rate-unit": Check("LRs in another unit", learning_rate_unit),
        "batch-tokens-unit": Check("batch_tokens in sequences", batch_tokens_unit),
        "loss-unit": Check("losses in bits, or perplexities", loss_unit),
        "replay-contradicted": Check("replay ratios that the curves contradict", replay_contradicted),
        "mixture-as-cpt": Check("the training loss of the mixture as cpt", mixture_as_cpt),
        "rising-loss": Check("a loss that falls and then rises: repeated data", rising_loss),
        "mean-as-last": Check("the mean of a run as its last loss", mean_as_last),
        "outlier": Check("points that stand out from their neighbours", outliers),
    },
)
"""Checks by the name of what they find, which ``accept`` and ``--accept`` take."""


def findings(curves: Curves, accept: Sequence[str] = ()) -> list[Finding]:
    """Return what is well-formed in curves and hardly right.

    Parameters
    ----------
    curves
        The runs.
    accept
        Names of findings that are right all the same.

    Returns
    -------
    list of Finding
        Refusals first; empty for sound curves.

    Raises
    ------
    BayesCptError
        If a name to accept is unknown.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.findings(bc.read_curves(bc.shipped("data/microcpt")))
    []
    """
    for name in accept:
        _ = CHECKS[name]  # an error if it is unknown
    with np.errstate(all="ignore"):  # of absurd numbers infinite ratios remain, which are compared like others
        found = accepting(CHECKS[FIRST].find(curves), accept)
        if not any(finding.is_refused for finding in found):
            found += accepting(_others(curves), accept)
    return sorted(found, key=lambda finding: finding.severity != "refusal")


def _others(curves: Curves) -> Iterator[Finding]:
    """Yield the findings of all checks but the first; points that stand out do not mislead the others."""
    clean = without(curves, outlying_points(curves))
    for name, check in CHECKS.items():
        if name != FIRST:
            yield from check.find(curves if name in (OUTLIER, MEAN) else clean)


class Vetted(NamedTuple):
    """Curves that may be fitted: without the points set aside, with what was found in them."""

    curves: Curves
    findings: tuple[Finding, ...]
    outliers: pd.DataFrame

    @property
    def attributes(self) -> dict[str, str]:
        """What was found, as attributes of a fit file."""
        return {"findings": as_text(self.findings), "outliers": self.outliers.to_json(orient="records")}


def vetted(curves: Curves, domains: Sequence[str] | None = None, accept: Sequence[str] = ()) -> Vetted:
    """Check curves before they are fitted: refuse what cannot be right, and set aside the points that stand out.

    Parameters
    ----------
    curves
        The runs.
    domains
        Domains that are fitted; None for all.
    accept
        Names of findings that are right all the same; points of an accepted finding are not set aside.

    Returns
    -------
    Vetted
        The curves to fit, what was found, and the points set aside.

    Raises
    ------
    CurvesError
        If no reading of the data makes sense; each finding says what is likely meant, and how to go on all the same.
    BayesCptError
        If a name to accept is unknown.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> checked = bc.vetted(bc.read_curves(bc.shipped("data/microcpt")))
    >>> checked.findings, len(checked.outliers)
    ((), 0)
    """
    losses = curves.losses
    used = curves if domains is None else curves.with_losses(losses[losses["domain"].isin(domains)])
    found = findings(used, accept)
    if refused := [str(finding) for finding in found if finding.is_refused]:
        raise CurvesError("the data cannot be right", refused)
    outliers = outlying_points(used)
    outliers = outliers[~outliers["finding"].isin(accept)].reset_index(drop=True)
    return Vetted(without(curves, outliers), tuple(found), outliers)


def warned(checked: Vetted) -> Vetted:
    """Warn of each finding, for the caller of the caller, and return the checked curves."""
    for finding in checked.findings:
        if finding.is_shown:
            warnings.warn(str(finding), PlausibilityWarning, stacklevel=3)
    return checked
