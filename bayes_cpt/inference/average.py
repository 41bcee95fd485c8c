"""Several fits of the same curves, weighted: where the form of the law is uncertain, forecasts draw from each form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from bayes_cpt.errors import DataError
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import SamplerOptions, SamplerSettings
from bayes_cpt.runs.curves import Curves
from bayes_cpt.statistical_model.model_files import ModelSpec, read_spec
from bayes_cpt.statistical_model.observations import observe

TOLERANCE = 1e-3
"""By how much weights, which are rounded where people write them, may miss a sum of 1."""


@dataclass(frozen=True)
class Average:
    """Fits of several laws to the same curves, and their weights; `average` makes one.

    Parameters
    ----------
    fits
        One a law.
    weights
        As many; they sum to 1.
    """

    fits: tuple[Fit, ...]
    weights: tuple[float, ...]

    @property
    def curves(self) -> Curves:
        """The fitted runs, their LRs and losses."""
        return self.fits[0].curves

    @property
    def domains(self) -> tuple[str, ...]:
        """The fitted domains."""
        return self.fits[0].domains

    @property
    def out_of_domain(self) -> tuple[str, ...]:
        """The fitted out-of-domain sets."""
        return self.fits[0].out_of_domain

    @property
    def every_domain(self) -> tuple[str, ...]:
        """All that is forecast."""
        return self.fits[0].every_domain

    @property
    def converged(self) -> bool:
        """Whether the draws of every law that counts can be trusted."""
        return all(fit.converged for fit in self._counting)

    @property
    def verdict(self) -> str:
        """What the diagnostics say, in words: of the laws that did not converge, or of all."""
        doubtful = [fit for fit in self._counting if not fit.converged]
        return "; ".join(f"{fit.spec.name}: {fit.verdict}" for fit in doubtful or self._counting)

    @property
    def _counting(self) -> list[Fit]:
        return [fit for fit, weight in zip(self.fits, self.weights, strict=True) if weight > 0]


def average(fits: Sequence[Fit], weights: Mapping[str, float] | Sequence[float] | None = None) -> Average:
    """Put fits of several laws together.

    Parameters
    ----------
    fits
        Of the same curves and domains, each of a model of its own.
    weights
        By model, or in the order of the fits; by default equal. What a `bayes_cpt.evaluation.compare.Comparison` found.

    Raises
    ------
    DataError
        If the fits are of different data, or the weights are not theirs.
    """
    names = [fit.spec.name for fit in fits]
    check_models(names)
    if len({str(fit.tree.attrs["data_digest"]) for fit in fits}) > 1 or len({fit.every_domain for fit in fits}) > 1:
        raise DataError("fits of different curves or domains cannot be averaged: fit each law to the same data")
    if weights is not None and not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise DataError(f"{len(weights)} weights were given for {len(names)} models: {', '.join(names)}")
        weights = dict(zip(names, weights, strict=True))
    return Average(tuple(fits), chosen_weights(names, weights))


def fit_average(
    curves: Curves,
    models: Sequence[str | Path | ModelSpec],
    weights: Mapping[str, float] | None = None,
    *,
    domains: Sequence[str] | None = None,
    **sampler: Unpack[SamplerOptions],
) -> Average:
    """Fit several models to the same curves, and average them.

    Parameters
    ----------
    curves, domains, **sampler
        As of `bayes_cpt.inference.fit.fit`.
    models
        Names of shipped models, paths of model files, or Specs.
    weights
        By model name, as `read_weights` reads them; by default equal.

    Raises
    ------
    DataError, SpecError
        If a model does not fit the data, or the weights are not theirs: before anything is fitted.
    """
    specs = [read_spec(model) for model in models]
    names = [spec.name for spec in specs]
    check_models(names)
    chosen_weights(names, weights)
    compiled = prepare_all(curves, specs, domains)
    settings = SamplerSettings(**sampler)
    fits = [fit_prepared(prepared, settings) for prepared in compiled.values()]
    return average(fits, weights)


def prepare_all(
    curves: Curves, models: Sequence[str | Path | ModelSpec], domains: Sequence[str] | None = None
) -> dict[str, Prepared]:
    """Compile models for the same curves, by name.

    Raises
    ------
    DataError, SpecError
        If they cannot be told apart, do not fit the data, or describe different losses.
    """
    specs = [read_spec(model) for model in models]
    check_models([spec.name for spec in specs])
    final = [spec.name for spec in specs if spec.law.is_final]
    if 0 < len(final) < len(specs):
        raise DataError(f"{final[0]} describes final losses, others whole curves: choose models of one kind")
    described = {spec.name: observe(curves, spec.law, domains).domains for spec in specs}
    if len(set(described.values())) > 1:
        listed = "; ".join(f"{name}: {', '.join(of_law)}" for name, of_law in described.items())
        raise DataError(f"the models describe different domains ({listed}): name those in common with --domains")
    return {spec.name: prepare(curves, spec, domains=domains) for spec in specs}


def check_models(names: Sequence[str]) -> None:
    """Refuse models that cannot be told apart.

    Raises
    ------
    DataError
        If there is none, or two have the same name.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if not names or twice:
        raise DataError(f"model {twice[0]!r} is given twice: name each once" if twice else "no model is given")


def chosen_weights(names: Sequence[str], weights: Mapping[str, float] | None) -> tuple[float, ...]:
    """Return the weights of models, in order; equal ones if none are given.

    Raises
    ------
    DataError
        If a model has none, or they are not shares of 1.
    """
    if weights is None:
        return (1 / len(names),) * len(names)
    lacking = [name for name in names if name not in weights]
    if lacking:
        raise DataError(f"no weight for model {lacking[0]!r}: there are weights for {', '.join(weights) or 'none'}")
    values = np.array([weights[name] for name in names], dtype=float)
    if not (values >= 0).all() or abs(values.sum() - 1) > TOLERANCE:
        listed = ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))
        raise DataError(f"weights must be 0 or more and sum to 1 over the models in use: they are {listed}")
    return tuple((values / values.sum()).tolist())


def read_weights(path: str | Path) -> dict[str, float]:
    """Read the weights of models: columns model and weight of a CSV, as `bayes-cpt compare` writes.

    Raises
    ------
    DataError
        If the file cannot be read, or a weight is no number.
    """
    try:
        table = pd.read_csv(path, dtype={"model": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    missing = [name for name in ("model", "weight") if name not in table]
    if missing or table.empty:
        raise DataError(f"{path} is not a table of bayes-cpt compare: {', '.join(missing) or 'rows'} missing")
    weights = pd.to_numeric(table["weight"], errors="coerce")
    if not np.isfinite(weights).all() or table["model"].isna().any() or table["model"].duplicated().any():
        raise DataError(f"{path}: each row needs a model, each once, and a number as its weight")
    return dict(zip(table["model"].tolist(), weights.tolist(), strict=True))
