"""Priors that a user states: of any parameter, or of the pre-training of an open checkpoint.

A stated prior replaces that of the model file. Its numbers are in nats, steps and LR x steps; with
``unit = "loss"`` (or ``steps``, ``forward_area_cpt``) they are in units of the data, as in a model file.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from bayes_cpt._support.files import parse_toml
from bayes_cpt.errors import DataError, SpecError, quoted
from bayes_cpt.runs.curves import Curves
from bayes_cpt.statistical_model.model_files import (
    FAMILIES,
    FORWARD_POWER,
    NOT_ARGUMENTS,
    ModelSpec,
    Prior,
    parse_spec,
    read_spec,
)

GIVEN = "given on the command line"
LEVEL_POWER = "level_power"
OTHERWISE = {FORWARD_POWER: (0.5, 0.25), LEVEL_POWER: (0.7, 0.15)}
"""Mean and standard deviation of a power whose prior is not normal."""
MEAN_RATE = 0.7
"""Mean LR of a pre-training over its peak: .55 of a cosine to a tenth, .9 of WSD with a decay over a fifth."""
RATE_SPREAD = 0.25
"""Standard deviation of the log of `MEAN_RATE`: 90 % within a factor of 1.5."""
SHARE_SPREAD = 0.2
"""Standard deviation of a stated final LR, as a share of it, if none is given: the law is only an approximation."""
ZERO_SPREAD = 0.02
"""The same if the final LR is 0, as a share of the peak."""
REST = 0.12
"""Share of the peak whose height a decay to 0 leaves: in `data/checkpoints`, heights of .17 (pt) and .31 (cpt)."""
REST_SPREAD = 0.5
"""Standard deviation of the log of `REST`."""

_FORM = re.compile(r"^\s*(\w+)\s*~\s*(\w+)\s*\((.*)\)\s*$", re.DOTALL)
_NUMBER = r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)"
_SHARE = re.compile(rf"^\s*{_NUMBER}\s*(%?)\s*(?:\+-\s*{_NUMBER}\s*(%?))?\s*$", re.IGNORECASE)
_TRAINED = re.compile(rf"^\s*{_NUMBER}\s*([kmbt]?)\s+tokens\s+at\s+{_NUMBER}\s*$", re.IGNORECASE)
_THOUSANDS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


class Annealed(NamedTuple):
    """The final LR of a pre-training as a share of its peak, with its uncertainty.

    Parameters
    ----------
    share
        Final LR over peak LR, in [0, 1].
    spread
        Standard deviation of the share; by default a fifth of it, or 0.02 if it is 0.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.Annealed(0.1, spread=0.03)
    Annealed(share=0.1, spread=0.03)
    """

    share: float
    spread: float | None = None


class Pretrained(NamedTuple):
    """The tokens of a pre-training and its peak LR.

    Parameters
    ----------
    tokens
        Number of tokens.
    peak
        Peak LR.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.Pretrained(tokens=2e12, peak=3e-4)
    Pretrained(tokens=2000000000000.0, peak=0.0003)
    """

    tokens: float
    peak: float


def with_priors(model: str | Path | ModelSpec, priors: Mapping[str, str | Mapping[str, Any]]) -> ModelSpec:
    """Return a model with other priors of some parameters.

    Parameters
    ----------
    model
        Name of a shipped model, path of a model file, or a ModelSpec.
    priors
        By parameter: ``"Beta(alpha=2, beta=18)"``, or a table as in a model file. Its ``reason`` may be left out.

    Returns
    -------
    ModelSpec
        The changed model.

    Raises
    ------
    SpecError
        If a text cannot be read, or the law has no such parameter; the message lists all faults of the priors.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> spec = bc.with_priors("cpt-replay", {"alpha": "Beta(alpha=2, beta=3)"})
    >>> spec.priors["alpha"].family, dict(spec.priors["alpha"].arguments)
    ('Beta', {'alpha': 2, 'beta': 3})
    """
    spec = read_spec(model)
    document = parse_toml(spec.text)
    tables = document["priors"]
    for name, prior in priors.items():
        stated = {"reason": "stated by the user", **(_table(name, prior) if isinstance(prior, str) else prior)}
        before = tables.get(name, {})
        # a stated prior does not change whether a component is in the likelihood
        kept = {key: before[key] for key in ("in_likelihood",) if key in before}
        tables[name] = kept | stated
    return parse_spec(spec.name, tomli_w.dumps(document))


def _table(name: str, text: str) -> dict[str, Any]:
    return parse_prior(f"{name} ~ {text}")[1]


def parse_prior(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``NAME ~ Family(argument=value, ...)``; arguments are as in a model file, ``{ pt = 1, cpt = 2 }`` too.

    Raises
    ------
    SpecError
        If the text is not of that form.
    """
    found = _FORM.match(text)
    example = "'loss_potential ~ Beta(alpha=2, beta=18)'"
    if found is None:
        raise SpecError(f"cannot read the prior {quoted(text)}: write it as {example}")
    name, family, inner = found.groups()
    numbers = re.sub(r"(?<![\w.])\.(\d)", r"0.\1", inner)  # TOML asks for the 0 of 0.5
    try:
        arguments = parse_toml(f"found = {{ {numbers} }}")["found"]
    except DataError as error:
        raise SpecError(f"cannot read the arguments of the prior {quoted(text)}: write it as {example}") from error
    strange = sorted(set(arguments) & (NOT_ARGUMENTS - {"unit", "reason"}))
    if strange or family not in FAMILIES:
        what = (
            f"{strange[0]} is not an argument" if strange else f"{quoted(family)} is not one of {', '.join(FAMILIES)}"
        )
        raise SpecError(f"cannot read the prior {quoted(text)}: {what}")
    return name, {"distribution": family, "reason": GIVEN, **arguments}


def parse_annealed(text: str) -> Annealed:
    """Read ``0.1``, ``10%`` or ``0.1 +- 0.03``.

    Raises
    ------
    SpecError
        If the text is not of that form, or no share.
    """
    found = _SHARE.match(text)
    if found is None:
        raise SpecError(
            f"cannot read {quoted(text)} as what pre-training was annealed to: give its final LR over its peak, as "
            "0.1, 10% or '0.1 +- 0.03'"
        )
    share, per_cent, spread, spread_per_cent = found.groups()
    annealed = Annealed(
        float(share) / (100 if per_cent else 1), float(spread) / (100 if spread_per_cent else 1) if spread else None
    )
    _check_annealed(annealed)
    return annealed


def parse_pretrained(text: str) -> Pretrained:
    """Read ``2e12 tokens at 3e-4`` (or ``2T tokens at 3e-4``).

    Raises
    ------
    SpecError
        If the text is not of that form, or a number is 0.
    """
    found = _TRAINED.match(text)
    if found is None:
        raise SpecError(
            f"cannot read {quoted(text)} as a pre-training: write it as '2e12 tokens at 3e-4' (the peak LR)"
        )
    tokens, unit, peak = found.groups()
    pretrained = Pretrained(float(tokens) * _THOUSANDS[unit.lower()], float(peak))
    _check_pretrained(pretrained)
    return pretrained


def _check_annealed(annealed: Annealed) -> None:
    if not 0 <= annealed.share <= 1:
        raise SpecError(f"pre-training was annealed to a share of its peak between 0 and 1, not {annealed.share:g}")
    if annealed.spread is not None and not 0 < annealed.spread <= 1:
        raise SpecError(f"the spread of what pre-training was annealed to lies in (0, 1], not {annealed.spread:g}")


def _check_pretrained(pretrained: Pretrained) -> None:
    for what, value in zip(("tokens", "peak LR"), pretrained, strict=True):
        if not (value > 0 and math.isfinite(value)):
            raise SpecError(f"the {what} of pre-training must be positive, not {value:g}")


def with_history(
    curves: Curves,
    model: str | Path | ModelSpec = "open-checkpoint",
    *,
    annealed_to: Annealed | float | None = None,
    pretrained: Pretrained | tuple[float, float] | None = None,
) -> ModelSpec:
    """Return an open model with priors that express what is known of the pre-training.

    Parameters
    ----------
    curves
        The pilots: the model's loss potential is relative to that of their largest LR, its forward area in their steps.
    model
        An open model: name, path or ModelSpec.
    annealed_to
        Final LR of pre-training over its peak. Without ``pretrained`` that peak is assumed to be the pilots'.
    pretrained
        Tokens of pre-training, and its peak LR.

    Returns
    -------
    ModelSpec
        The model with priors of ``loss_potential`` and ``checkpoint_forward_area`` as stated.

    Raises
    ------
    SpecError
        If the law reads the pre-training from the data, or a value is out of range.
    DataError
        If ``pretrained`` is given, and no pilot has ``batch_tokens``.

    References
    ----------
    Wang et al., ICML 2025, arXiv 2505.07796: loss potential, and open-source checkpoints.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> pilots = bc.pilot_runs(bc.LAWS["open-checkpoint"])
    >>> spec = bc.with_history(pilots, "open-checkpoint", annealed_to=0.1)
    >>> prior = spec.priors["loss_potential"]
    >>> prior.family, {name: round(value, 2) for name, value in prior.arguments.items()}
    ('LogNormal', {'median': 0.27, 'sigma': 0.35})
    """
    spec = read_spec(model)
    if spec.law.knows_checkpoint:
        raise SpecError(
            f"law {spec.law.name!r} reads the pre-training from the data, so it cannot be stated: use "
            "-m open-checkpoint, or leave --annealed-to and --pretrained out"
        )
    trained = None if pretrained is None else Pretrained(*pretrained)
    priors: dict[str, dict[str, Any]] = {}
    if trained is not None:
        _check_pretrained(trained)
        priors["checkpoint_forward_area"] = _forward_area(spec, curves, trained)
    if annealed_to is not None:
        annealed = annealed_to if isinstance(annealed_to, Annealed) else Annealed(annealed_to)
        _check_annealed(annealed)
        priors["loss_potential"] = _loss_potential(spec, annealed, _largest_rate(curves), trained and trained.peak)
    return with_priors(spec, priors)


def _loss_potential(spec: ModelSpec, annealed: Annealed, largest: float, peak: float | None) -> dict[str, Any]:
    """Return the prior of the height at the transfer point, (final LR over the pilots' largest)^level_power.

    No Beta, as it may be above 1. In a law without level power it is the ratio of LRs itself.
    """
    exponent, doubt = _power(spec, LEVEL_POWER)
    rest = REST if LEVEL_POWER in spec.priors else 0.0
    ratio = 1.0 if peak is None else peak / largest
    of_peak = "the pilots' peak" if peak is None else f"a peak of {peak:g}"
    reason = f"stated: annealed to {annealed.share:g} of {of_peak}; here over the pilots' largest LR, {largest:g}"
    if annealed.share == rest == 0:
        return {"distribution": "HalfNormal", "sigma": (annealed.spread or ZERO_SPREAD) * ratio, "reason": reason}
    spread = SHARE_SPREAD * annealed.share if annealed.spread is None else annealed.spread
    final = math.hypot(annealed.share, rest)
    of_final = math.hypot(annealed.share * spread, rest**2 * REST_SPREAD) / final**2
    return {
        "distribution": "LogNormal",
        "median": (final * ratio) ** exponent,
        "sigma": math.hypot(exponent * of_final, doubt * math.log(final * ratio)),
        "reason": reason + (f"; as a height: to the power {exponent:g}, and a decay leaves a rest" if rest else ""),
    }


def _forward_area(spec: ModelSpec, curves: Curves, trained: Pretrained) -> dict[str, Any]:
    """Return the prior of the checkpoint's progress: the sum of a power of the LR, itself uncertain."""
    exponent, doubt = _power(spec, FORWARD_POWER)
    largest = _largest_rate(curves)
    given = curves.runs["batch_tokens"].dropna()
    if given.empty:
        raise DataError("to count the tokens of pre-training in steps of the pilots, give batch_tokens in runs.csv")
    steps = trained.tokens / float(given.iloc[0])
    return {
        "distribution": "LogNormal",
        "median": steps * largest * (trained.peak * MEAN_RATE / largest) ** exponent,
        "sigma": math.hypot(RATE_SPREAD, doubt * math.log(trained.peak / largest)),
        "reason": f"stated: {trained.tokens:g} tokens at a peak of {trained.peak:g}, {steps:,.0f} steps of the pilots; "
        f"a mean LR of {MEAN_RATE:g} of the peak, counted by its power {exponent:g} as progress is",
    }


def _power(spec: ModelSpec, name: str) -> tuple[float, float]:
    """Return the prior mean and standard deviation of a power of the LR; 1 and 0 in a law without it."""
    prior = spec.priors.get(name)
    if prior is None:
        return 1.0, 0.0
    return (prior.argument("mu", "pt"), prior.argument("sigma", "pt")) if prior.family == "Normal" else OTHERWISE[name]


def _largest_rate(curves: Curves) -> float:
    return float(max(np.max(curves.learning_rate(str(run))) for run in curves.runs.index))


def stated(
    curves: Curves,
    model: str | Path | ModelSpec,
    priors: Sequence[str] = (),
    annealed_to: str | None = None,
    pretrained: str | None = None,
) -> tuple[ModelSpec, list[str]]:
    """Return a model with priors as stated on the command line, and a sentence on each.

    Parameters
    ----------
    curves
        The pilots; see `with_history`.
    model
        Name of a shipped model, path of a model file, or a ModelSpec.
    priors
        Texts such as ``"alpha ~ Beta(alpha=2, beta=3)"``.
    annealed_to
        Text such as ``"0.1"``, ``"10%"`` or ``"0.1 +- 0.03"``; see `Annealed`.
    pretrained
        Text such as ``"2T tokens at 3e-4"``; see `Pretrained`.

    Returns
    -------
    spec : ModelSpec
        The changed model.
    sentences : list of str
        The prior of each stated parameter, in words.

    Raises
    ------
    SpecError, DataError
        See `with_priors` and `with_history`; also if one parameter is stated twice.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> pilots = bc.pilot_runs(bc.LAWS["cpt-replay"])
    >>> spec, sentences = bc.stated(pilots, "cpt-replay", ["alpha ~ Beta(alpha=2, beta=3)"])
    >>> sentences
    ['prior of alpha: Beta(alpha=2, beta=3) (given on the command line)']
    """
    spec = read_spec(model)
    read = [parse_prior(text) for text in priors]
    names = [name for name, _ in read]
    names += ["loss_potential"] * (annealed_to is not None) + ["checkpoint_forward_area"] * (pretrained is not None)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"the prior of {', '.join(twice)} is stated twice: state it once")
    if annealed_to is not None or pretrained is not None:
        spec = with_history(
            curves,
            spec,
            annealed_to=None if annealed_to is None else parse_annealed(annealed_to),
            pretrained=None if pretrained is None else parse_pretrained(pretrained),
        )
    if read:
        spec = with_priors(spec, dict(read))
    return spec, [f"prior of {name}: {_said(spec.priors[name])}" for name in names]


def _said(prior: Prior) -> str:
    arguments = ", ".join(
        f"{key}={value:g}" if isinstance(value, float | int) else f"{key}={dict(value)}"
        for key, value in prior.arguments.items()
    )
    return f"{prior.family}({arguments}) ({prior.reason})"
