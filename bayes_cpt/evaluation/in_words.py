"""A fit in words: whether it can be trusted, what the data inform and what rests on priors, by meaning."""

from collections.abc import Iterator, Sequence

import pandas as pd

from bayes_cpt.evaluation.informed import LEARNT, RESTING, informed
from bayes_cpt.evaluation.left_out_scales import what_left_out_runs_show
from bayes_cpt.evaluation.meanings import GROUPS, meaning_of
from bayes_cpt.forecasting.predictive_checks import coverage_of_fitted
from bayes_cpt.inference.average import Average
from bayes_cpt.inference.fit import Fit
from bayes_cpt.plausibility.findings import sentences
from bayes_cpt.runs.identifiability import Gap, gaps

COVERED = (0.35, 0.8)
"""Shares of the fitted losses that 50 % and 90 % intervals must cover; a fit that covers fewer is reported."""


def in_words(fitted: Fit | Average) -> str:
    """Say in a few lines what a fit shows: whether it converged, what the data inform, and what rests on priors.

    The data inform a parameter if its posterior is less than half as wide as its prior (`bayes_cpt.informed`). If
    the ratio is above 0.8, only the prior informs it; in between, the data inform it in part.

    Parameters
    ----------
    fitted
        A fit, or an average of fits, each of which has lines of its own.

    Returns
    -------
    str
        Lines: the verdict; which parts of the model the data inform; a line for each part of which they inform some;
        which parts rest on priors. If the fitted runs lack what would inform a part, its line says so. Then points that
        were not fitted; after `bayes_cpt.predictive_check`, a warning if the intervals miss the fitted losses; and what
        is hardly right in the data (`bayes_cpt.findings`).

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> print(bc.in_words(bc.load("fit.nc")))  # doctest: +SKIP
    cpt-replay: converged (largest R-hat 1.005, smallest bulk ESS 700, ...)
    Informed by the data: base loss, annealing.
    Shift by the new data: the data inform its size and its speed; only priors inform its dependence on the peak LR. All
    CPT runs have one peak LR, 0.002: add a CPT run with another value.
    """
    warnings = [f"Warning: {sentence}." for sentence in sentences(fitted.findings)]
    if isinstance(fitted, Average):
        weighted = zip(fitted.fits, fitted.weights, strict=True)
        return "\n".join([*(f"Weight {weight:.3f}. {_in_words(fit)}" for fit, weight in weighted), *warnings])
    return "\n".join([_in_words(fitted), *warnings])


def _in_words(fit: Fit) -> str:
    lines = [f"{fit.spec.name}: {fit.verdict}", *_informed_in_words(fit)]
    learnt = what_left_out_runs_show(fit)
    return "\n".join([*lines, *([learnt] if learnt else []), *_set_aside(fit), *_not_covered(fit)])


def _informed_in_words(fit: Fit) -> Iterator[str]:
    """Yield lines on the parts of the model that the data inform, inform partly, and do not inform."""
    table = informed(fit)
    meanings = {str(name): meaning_of(str(name), final=fit.spec.law.is_final) for name in table["parameter"]}
    own = [meanings[str(name)] for name in table["parameter"]]
    table = table.assign(group=[one.group for one in own], words=[one.words for one in own])
    by_group = {group: table[table["group"] == group] for group in GROUPS if (table["group"] == group).any()}
    full = [group for group, rows in by_group.items() if rows["learnt"].all()]
    bare = [group for group, rows in by_group.items() if (rows["width"] > RESTING).all()]
    lacking = _gaps(fit)

    def advice(groups: Sequence[str]) -> str:
        doubtful = {str(name) for group in groups for name in by_group[group].query("not learnt")["parameter"]}
        topics = {topic for name in doubtful for topic in meanings[name].gaps}
        return "".join(f" {gap.fact}: {gap.cure}." for gap in lacking if gap.about in topics)

    if full:
        yield f"Informed by the data: {', '.join(full)}."
    for group in (group for group in by_group if group not in {*full, *bare}):
        yield f"{group[0].upper()}{group[1:]}: {_what_is_informed(by_group[group])}.{advice([group])}"
    if bare:
        yield f"On priors alone: {', '.join(bare)}.{advice(bare)}"


def _what_is_informed(rows: pd.DataFrame) -> str:
    """Return, of the parameters of a group, what the data inform, what in part, and what only priors inform."""
    widths = rows.groupby(["words", "domain"], sort=False)["width"].max()
    learnt, resting = widths < LEARNT, ~(widths <= RESTING)
    partly = ~learnt & ~resting
    parts = [
        ("the data inform", learnt),
        ("in part" if learnt.any() else "the data inform in part", partly),
        ("only priors inform", resting),
    ]
    return "; ".join(f"{verb} {_those(chosen)}" for verb, chosen in parts if chosen.any())


def _those(chosen: pd.Series) -> str:
    """Return the chosen ones among a group's quantities, by words and domain; domains are named where they differ."""
    complete = [str(domain) for domain, own in chosen.groupby("domain", sort=False) if own.all() and len(own) > 1]
    if chosen.all() and complete:
        return "everything"
    phrases = [f"everything ({', '.join(complete)})"] if complete else []
    for words, own in chosen.groupby("words", sort=False):
        of_words = own.droplevel("words")
        where = [str(domain) for domain in of_words.index[of_words] if domain not in complete]
        if where:
            phrases.append(str(words) if len(where) == len(own) else f"{words} ({', '.join(where)})")
    return " and ".join([*([", ".join(phrases[:-1])] if len(phrases) > 1 else []), phrases[-1]])


def _gaps(fit: Fit) -> list[Gap]:
    """Return what the fitted runs lack to inform the model's parameters."""
    law, found = fit.spec.law, gaps(fit.curves)
    unfit = {"size"}  # several sizes are a gap for other laws
    if not law.knows_checkpoint:
        unfit |= {"pt", "history", "loss_potential"}
    found = [gap for gap in found if gap.about not in unfit]
    if not law.knows_checkpoint:
        cure = "state what is known of it (--annealed-to, --pretrained)"
        found.append(Gap("history", "The pre-training is not in the data", "its effect rests on priors", cure))
    if law.has_size and len(fit.curves.runs["model_size"].unique()) == 1:
        found.append(Gap("size", "All runs have one model size", "its effect is not identified", "add runs of another"))
    return found


def _set_aside(fit: Fit) -> Iterator[str]:
    if count := int(fit.tree.attrs.get("set_aside", 0)):
        yield f"{count} points in the PT warm-up were not fitted: the law does not describe the warm-up."
    if count := int(fit.tree.attrs.get("out_of_domain_set_aside", 0)):
        yield (
            f"{count} points of {', '.join(fit.out_of_domain)} were not fitted: "
            f"{' or '.join(fit.curves.names)} was not measured at their steps, or the checkpoint was not measured."
        )


def _not_covered(fit: Fit) -> Iterator[str]:
    for domain, (half, most) in coverage_of_fitted(fit).items():
        if half < COVERED[0] or most < COVERED[1]:
            yield (
                f"The intervals do not cover the fitted losses on {domain}: those of 50 % cover {half:.0%}, those of "
                f"90 % {most:.0%}. Forecasts will not cover new losses either: try another model."
            )
