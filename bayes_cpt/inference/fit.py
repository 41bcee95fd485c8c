"""Fitting: from curves and a model file to a ``Fit``, which has all that a forecast needs."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayes_cpt._support.progress import live_line, quiet
from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.inference.approximation import Approximation, around
from bayes_cpt.inference.diagnostics import diagnose, modes_in_words
from bayes_cpt.inference.sampling import Block, Drawn, sample_blocks
from bayes_cpt.inference.settings import DEFAULTS, SamplerOptions, SamplerSettings
from bayes_cpt.plausibility.checks import vetted, warned
from bayes_cpt.plausibility.findings import Finding, from_text
from bayes_cpt.plausibility.outliers import COLUMNS
from bayes_cpt.posterior.data_groups import measured_points, observed_losses
from bayes_cpt.posterior.density import Density, blocks, replaced
from bayes_cpt.posterior.parameters import parameter_tree
from bayes_cpt.posterior.priors import bins_of, of_domain, uninformed_draws
from bayes_cpt.runs.curve_folder import digest
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.holdout import NOTHING, Holdout
from bayes_cpt.statistical_model.bins import Bins
from bayes_cpt.statistical_model.effect_draws import with_departures, with_effects
from bayes_cpt.statistical_model.likelihood import DomainModel, domain_models, evaluate
from bayes_cpt.statistical_model.model_files import DEFAULT_MODEL, ModelSpec, read_spec
from bayes_cpt.statistical_model.observations import Observations, observe
from bayes_cpt.statistical_model.out_of_domain import SCALE

if TYPE_CHECKING:
    import pymc as pm


@dataclass(frozen=True)
class Fit:
    """A posterior, and the model and data it was sampled from; `fit` and `bayes_cpt.load` return one.

    Parameters
    ----------
    tree
        ArviZ groups: posterior (chain, draw, ...), sample_stats, observed_data (nats), constant_data (run and step of
        each measured point) and, after `bayes_cpt.predictive_check`, posterior_predictive. Variables ``effect_NAME`` of
        the posterior are the discrepancy's effects on the fitted runs.
    spec
        The model.
    curves
        The fitted runs, their LRs and losses.
    models
        By domain, the parts of its model that are not sampled.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> fit = bc.fit(curves)  # doctest: +SKIP
    >>> fit.converged, fit.domains  # doctest: +SKIP
    (True, ('pt', 'cpt'))
    >>> fit.posterior["annealing_drop"].mean(["chain", "draw"])  # nats, by domain  # doctest: +SKIP
    """

    tree: xr.DataTree
    spec: ModelSpec
    curves: Curves
    models: Mapping[str, DomainModel]

    @property
    def posterior(self) -> xr.Dataset:
        """Draws of the parameters."""
        return self.tree["posterior"].to_dataset()

    @property
    def domains(self) -> tuple[str, ...]:
        """The fitted domains that the law describes."""
        return tuple(self.models)

    @property
    def out_of_domain(self) -> tuple[str, ...]:
        """The fitted out-of-domain sets."""
        posterior = self.tree["posterior"]
        return tuple(posterior["out_of_domain"].to_numpy().tolist()) if "out_of_domain" in posterior.coords else ()

    @property
    def every_domain(self) -> tuple[str, ...]:
        """All fitted domains: the law's, then the out-of-domain sets."""
        return (*self.domains, *self.out_of_domain)

    @property
    def converged(self) -> bool:
        """Whether the sampler's diagnostics are good enough to trust the draws."""
        return bool(self.tree.attrs["converged"])

    @property
    def verdict(self) -> str:
        """What the diagnostics say, in words."""
        return str(self.tree.attrs["verdict"])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is hardly right in the fitted data; see `bayes_cpt.findings`."""
        return from_text(self.tree.attrs.get("findings", "[]"))

    @property
    def outliers(self) -> pd.DataFrame:
        """Points that were set aside, since they stand out: run, step, domain, loss, expected (loss), finding."""
        return pd.DataFrame(json.loads(self.tree.attrs.get("outliers", "[]")), columns=list(COLUMNS))

    @property
    def left_out(self) -> pd.DataFrame:
        """What left-out runs showed, if `bayes_cpt.learn_scales` was called: coverage by run and domain."""
        return pd.DataFrame(json.loads(self.tree.attrs.get("left_out", "[]")))


@dataclass(frozen=True)
class Prepared:
    """A model compiled for curves: it can be fitted to all of them, or to a part, without compiling again.

    `prepare` returns one.

    Parameters
    ----------
    spec
        The model.
    curves
        Runs and their LRs; losses of the fitted domains.
    observations
        The measured losses, their features and the units of priors.
    models
        By domain, the parts of its model that are not sampled.
    bins
        By domain, the losses in bins, as they are fitted.
    densities
        The log densities of the blocks of parameters that the posterior keeps apart.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> prepared = bc.prepare(curves, "cpt-replay")  # doctest: +SKIP
    >>> [density.size for density in prepared.densities], prepared.pymc_model.free_RVs  # doctest: +SKIP
    """

    spec: ModelSpec
    curves: Curves
    observations: Observations
    models: Mapping[str, DomainModel]
    bins: Mapping[str, Bins]
    densities: Sequence[Density]

    @cached_property
    def pymc_model(self) -> "pm.Model":
        """The model in PyMC, of all measured points: for its graph, its priors, and samplers of your own."""
        from bayes_cpt.posterior.pymc_model import build  # noqa: PLC0415 - PyMC takes seconds to import

        return build(self.spec, self.observations)


def fit(
    curves: Curves,
    model: str | Path | ModelSpec = DEFAULT_MODEL,
    *,
    domains: Sequence[str] | None = None,
    accept: Sequence[str] = (),
    **sampler: Unpack[SamplerOptions],
) -> Fit:
    """Fit a model to curves by MCMC.

    Parameters
    ----------
    curves
        Runs to fit, of one model size.
    model
        Name of a shipped model, path of a model file, or a ModelSpec, as `bayes_cpt.with_priors` gives.
    domains
        By default all that were measured: ``pt`` and ``cpt`` by the law; others, in continual pre-training, as a
        combination of the two.
    accept
        Names of findings (`bayes_cpt.findings`) that are right all the same: a refusal becomes a warning.
    **sampler
        draws, tune, chains, seed, progress: see `bayes_cpt.SamplerSettings`.

    Returns
    -------
    Fit
        The posterior; ``converged`` says whether it can be trusted.

    Raises
    ------
    CurvesError, DataError, SpecError
        If the data cannot be right (`bayes_cpt.findings`), or they or the model file do not fit the law.
    SamplingError
        If the sampler stopped early or gave draws that are not finite.
    KeyboardInterrupt
        If interrupted; nothing is kept.

    References
    ----------
    Hoffman & Gelman, *The No-U-Turn Sampler*, Journal of Machine Learning Research 15, 2014.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.select(bc.read_curves(bc.shipped("data/microcpt")), "model_size == 332448")
    >>> fit = bc.fit(curves, "cpt-replay", domains=["pt", "cpt"], seed=1)  # doctest: +SKIP
    >>> print(fit.verdict)  # doctest: +SKIP
    """
    settings = DEFAULTS.changed(sampler)
    checked = warned(vetted(curves, domains, accept))
    fitted = fit_prepared(prepare(checked.curves, model, domains=domains), settings)
    fitted.tree.attrs.update(checked.attributes)
    return fitted


def prepare(
    curves: Curves,
    model: str | Path | ModelSpec = DEFAULT_MODEL,
    *,
    domains: Sequence[str] | None = None,
    holdouts: Sequence[Holdout] = (),
) -> Prepared:
    """Compile a model for curves, without sampling it.

    Parameters
    ----------
    curves, model, domains
        See `fit`.
    holdouts
        Parts of the runs that fits will leave out: losses on both sides of a part's beginning are not averaged.

    Returns
    -------
    Prepared
        The compiled model, for example for `bayes_cpt.calibrate`.

    Raises
    ------
    DataError, SpecError
        If the data or the model file do not fit the law.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> prepared = bc.prepare(curves, "cpt-replay")  # doctest: +SKIP
    >>> prepared.observations.domains  # doctest: +SKIP
    ('pt', 'cpt')
    """
    spec = read_spec(model)
    observations = observe(curves, spec.law, domains)
    models = domain_models(spec, observations)
    bins = bins_of(spec, models, observations, holdouts)
    chosen = select(curves, domains=observations.every_domain)
    return Prepared(spec, chosen, observations, models, bins, blocks(spec, models, observations, bins))


def fit_prepared(
    prepared: Prepared,
    settings: SamplerSettings = DEFAULTS,
    left_out: Holdout = NOTHING,
    starts: Sequence[Approximation] | None = None,
) -> Fit:
    """Fit a compiled model to its curves, or to a part of them.

    Parameters
    ----------
    prepared
        The compiled model. The scales of its priors are those of all its curves.
    settings
        Settings of the sampler.
    left_out
        The runs, or steps of runs, that are not fitted.
    starts
        Where the sampler starts, for example the result of `full_posterior`; by default it seeks the modes.
    """
    densities = [replaced(density, _kept_losses(prepared, left_out)) for density in prepared.densities]
    watched = [partial(watched_quantities, prepared, density) for density in densities]
    to_sample = [
        Block(density, watch, start)
        for density, watch, start in zip(densities, watched, starts or [None] * len(densities), strict=True)
    ]
    with live_line() if settings.progress else nullcontext(quiet) as report:
        drawn = sample_blocks(to_sample, settings, report)
    tree = _posterior(prepared, densities, drawn, np.random.default_rng([settings.seed, 3]))
    converged, verdict = diagnose(tree, [found.convergence for found in drawn], settings)
    verdict += modes_in_words([found.modes for found in drawn])
    sampling = json.dumps(asdict(settings))
    tree.attrs = {"seed": settings.seed, "sampling": sampling, "converged": int(converged), "verdict": verdict}
    return with_data(prepared, left_out, tree)


def _kept_losses(prepared: Prepared, left_out: Holdout) -> dict[str, dict[str, FloatArray]]:
    """Return what changes in the data of the likelihoods, by domain, if runs are left out."""
    kept = _kept_points(prepared.observations, left_out)
    of_law = {domain: found.data for domain, found in kept_bins(prepared, left_out).items()}
    combined = prepared.observations.out_of_domain
    return of_law | {domain: {"count": kept[found.places].astype(float)} for domain, found in combined.items()}


def kept_bins(prepared: Prepared, left_out: Holdout) -> dict[str, Bins]:
    """Return the losses in bins, by domain, without the runs left out."""
    kept, places = _kept_points(prepared.observations, left_out), prepared.observations.places
    return {domain: found.only(kept[places[domain]]) for domain, found in prepared.bins.items()}


def full_posterior(prepared: Prepared, settings: SamplerSettings) -> list[Approximation]:
    """Return approximations of the posterior of all curves, from which fits to parts of them start."""
    drawn = sample_blocks([Block(density, lambda x: x) for density in prepared.densities], settings, quiet)
    return [around(found.x) for found in drawn]


def watched_quantities(prepared: Prepared, density: Density, x: FloatArray) -> FloatArray:
    """Return what must converge: the parameters, and the law's losses at the ends of the runs, (chain, draw, n)."""
    parameters, finals = density.parameters(x.reshape(-1, x.shape[-1])), []
    for domain in (domain for domain in prepared.models if domain in {entry.domain for entry in density.entries}):
        own, bins = of_domain(parameters, domain), prepared.bins[domain]
        last = bins.design.features_at(np.flatnonzero(np.diff(bins.design.run, append=-1)))
        law = evaluate(prepared.models[domain], replace(bins.design, features=last), own).law
        finals.append(law.reshape(*x.shape[:2], -1))
    return np.concatenate([x, *finals], axis=-1)


def _posterior(
    prepared: Prepared, densities: Sequence[Density], drawn: Sequence[Drawn], random: np.random.Generator
) -> xr.DataTree:
    """Join the draws of blocks: groups posterior (parameters and the law's own coefficients) and sample_stats."""
    values = {
        entry: of_entry
        for density, each in zip(densities, drawn, strict=True)
        for entry, of_entry in density.parameters(each.x).items()
    } | uninformed_draws(prepared.spec, prepared.observations, drawn[0].x.shape[:2], random)
    tree = parameter_tree(prepared.spec, prepared.models, prepared.observations, values)
    stats = {
        "lp": np.sum([each.log_density for each in drawn], axis=0),
        "diverging": np.any([each.diverging for each in drawn], axis=0),
    }
    tree["sample_stats"] = xr.Dataset({name: (("chain", "draw"), of) for name, of in stats.items()})
    return tree


def with_data(prepared: Prepared, left_out: Holdout, drawn: xr.DataTree) -> Fit:
    """Return a fit from draws of the parameters: add the effects on the fitted runs, the data and the attributes.

    Parameters
    ----------
    prepared, left_out
        See `fit_prepared`.
    drawn
        Draws of the parameters given the fitted losses, with the attributes seed, sampling, converged, verdict.
    """
    spec, observations = prepared.spec, without(prepared.observations, left_out)
    curves = left_out.fitted(prepared.curves)
    models = domain_models(spec, observations)
    tree, seed = drawn.copy(), int(drawn.attrs["seed"])
    posterior = with_effects(tree["posterior"].to_dataset(), models, kept_bins(prepared, left_out), seed)
    departing = observations.out_of_domain and SCALE in posterior
    tree["posterior"] = with_departures(posterior, observations, seed) if departing else posterior
    tree["observed_data"] = observed_losses(observations)
    tree["constant_data"] = measured_points(observations)
    tree.attrs = {
        **drawn.attrs,
        "model": spec.name,
        "model_text": spec.text,
        "law": spec.law.name,
        "domains": json.dumps(list(models)),
        "domain_names": json.dumps(curves.names),
        "fitted_range": json.dumps(observations.fitted_range.to_dict()),
        "data_digest": digest(curves),
        "versions": json.dumps({name: version(name) for name in ("bayes-cpt", "arviz", "jax", "numpy")}),
        "set_aside": len(observations.set_aside),
        "out_of_domain_set_aside": sum(found.set_aside for found in observations.out_of_domain.values()),
    }
    return Fit(tree, spec, curves, models)


def without(observations: Observations, left_out: Holdout) -> Observations:
    """Leave the measurements of some runs' steps out; the design stays as it is."""
    return observations.only(_kept_points(observations, left_out))


def _kept_points(observations: Observations, left_out: Holdout) -> NDArray[np.bool_]:
    """Return whether each point of the design (points,) is fitted."""
    design = observations.design
    return design.step < left_out.first_steps(design.runs)[design.run]


def with_draws(fit: Fit, places: IntArray) -> Fit:
    """Return a fit with the draws at these indices, counted over the concatenated chains, as one chain."""
    posterior = fit.posterior
    chain, draw = (xr.DataArray(index, dims="place") for index in divmod(places, posterior.sizes["draw"]))
    chosen = posterior.drop_vars(["chain", "draw"]).isel(chain=chain, draw=draw).rename(place="draw")
    tree = fit.tree.copy()
    tree["posterior"] = chosen.expand_dims(chain=[0]).assign_coords(draw=np.arange(len(places)))
    return replace(fit, tree=tree)
