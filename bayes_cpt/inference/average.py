"""Weighted averages of fits of several models: if the form of the law is uncertain, forecasts draw from each form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from bayes_cpt._support.files import read_table
from bayes_cpt.errors import DataError
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import DEFAULTS, SamplerOptions
from bayes_cpt.plausibility.checks import vetted, warned
from bayes_cpt.plausibility.findings import Finding
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.model_files import ModelSpec, read_spec
from bayes_cpt.statistical_model.observations import observe

TOLERANCE = 1e-3
"""Largest difference between the sum of weights and 1: written weights are rounded."""


@dataclass(frozen=True)
class Average:
    """Fits of several models to the same curves, and their weights; `average` and `fit_average` return one.

    `bayes_cpt.forecast` draws from the mixture of their predictive distributions.

    Parameters
    ----------
    fits
        One per model.
    weights
        One per fit; they sum to 1.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> both = bc.fit_average(curves, ["cpt-replay", "cpt-replay-monotone"])  # doctest: +SKIP
    >>> bands = bc.forecast(both, plans)  # doctest: +SKIP
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
        """All fitted domains: the laws', then the out-of-domain sets."""
        return self.fits[0].every_domain

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is hardly right in the fitted data."""
        return self.fits[0].findings

    @property
    def outliers(self) -> pd.DataFrame:
        """Points that were set aside; see `Fit`."""
        return self.fits[0].outliers

    @property
    def converged(self) -> bool:
        """Whether the draws of every model with a weight above 0 can be trusted."""
        return all(fit.converged for fit in self._weighted)

    @property
    def verdict(self) -> str:
        """What the diagnostics say, in words: of the models that did not converge; if all did, of all."""
        doubtful = [fit for fit in self._weighted if not fit.converged]
        return "; ".join(f"{fit.spec.name}: {fit.verdict}" for fit in doubtful or self._weighted)

    @property
    def _weighted(self) -> list[Fit]:
        return [fit for fit, weight in zip(self.fits, self.weights, strict=True) if weight > 0]


def average(fits: Sequence[Fit], weights: Mapping[str, float] | Sequence[float] | None = None) -> Average:
    """Average fits of several models.

    Parameters
    ----------
    fits
        Fits of the same curves and domains, each of another model.
    weights
        By model name, or in the order of the fits, as `bayes_cpt.compare` finds them; by default equal.

    Returns
    -------
    Average
        The fits with their weights.

    Raises
    ------
    DataError
        If the fits are of different data, or the weights do not match the fits or do not sum to 1.

    References
    ----------
    Yao et al., *Using stacking to average Bayesian predictive distributions*, Bayesian Analysis 13, 2018.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> fits = [bc.fit(curves, model) for model in ("cpt-replay", "cpt-replay-monotone")]  # doctest: +SKIP
    >>> both = bc.average(fits, weights=[0.7, 0.3])  # doctest: +SKIP
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
    accept: Sequence[str] = (),
    **sampler: Unpack[SamplerOptions],
) -> Average:
    """Fit several models to the same curves, and average them.

    Parameters
    ----------
    curves, domains, accept, **sampler
        See `bayes_cpt.fit`.
    models
        Names of shipped models, paths of model files, or values of type `ModelSpec`.
    weights
        By model name, as `read_weights` reads them; by default equal.

    Returns
    -------
    Average
        The fits with their weights.

    Raises
    ------
    CurvesError, DataError, SpecError
        If the data cannot be right, a model does not fit them, or the weights do not match the models: before anything
        is sampled.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> weights = bc.read_weights("comparison.csv")  # doctest: +SKIP
    >>> both = bc.fit_average(curves, ["cpt-replay", "cpt-replay-monotone"], weights, seed=1)  # doctest: +SKIP
    """
    specs = [read_spec(model) for model in models]
    names = [spec.name for spec in specs]
    check_models(names)
    chosen_weights(names, weights)
    settings = DEFAULTS.changed(sampler)
    checked = warned(vetted(curves, domains, accept))
    compiled = prepare_all(checked.curves, specs, domains)
    fits = [fit_prepared(prepared, settings) for prepared in compiled.values()]
    for fitted in fits:
        fitted.tree.attrs.update(checked.attributes)
    return average(fits, weights)


def prepare_all(
    curves: Curves,
    models: Sequence[str | Path | ModelSpec],
    domains: Sequence[str] | None = None,
    holdouts: Sequence[Holdout] = (),
) -> dict[str, Prepared]:
    """Compile models for the same curves, by name.

    Raises
    ------
    DataError, SpecError
        If two have the same name, one does not fit the data, or they describe different losses.
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
    return {spec.name: prepare(curves, spec, domains=domains, holdouts=holdouts) for spec in specs}


def check_models(names: Sequence[str]) -> None:
    """Refuse an empty list of models, and models with the same name.

    Raises
    ------
    DataError
        If there is no model, or two have the same name.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if not names or twice:
        raise DataError(f"model {twice[0]!r} is given twice: name each once" if twice else "no model is given")


def chosen_weights(names: Sequence[str], weights: Mapping[str, float] | None) -> tuple[float, ...]:
    """Return the weights of models, in order; equal ones if none are given.

    Raises
    ------
    DataError
        If a model has no weight, or the weights are negative or do not sum to 1.
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
    r"""Read the weights of models from a CSV file with columns model and weight, as `bayes-cpt compare` writes it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict of str to float
        Weights by model name.

    Raises
    ------
    DataError
        If the file cannot be read, has no such columns, names a model twice, or a weight is no number.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import bayes_cpt as bc
    >>> path = Path(tempfile.mkdtemp()) / "comparison.csv"
    >>> _ = path.write_text("model,weight\ncpt-replay,0.7\ncpt-replay-monotone,0.3\n")
    >>> bc.read_weights(path)
    {'cpt-replay': 0.7, 'cpt-replay-monotone': 0.3}
    """
    table = read_table(path, ("model", "weight"), "is not a table of bayes-cpt compare")
    weights = pd.to_numeric(table["weight"], errors="coerce").astype(float)
    if not np.isfinite(weights).all() or not table["model"].all() or table["model"].duplicated().any():
        raise DataError(f"{path}: each row needs a model, each once, and a number as its weight")
    return dict(zip(table["model"].tolist(), weights.tolist(), strict=True))
