"""Fitting: curves and a model file to a ``Fit`` that holds all a forecast needs; diagnosis, saving and loading."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr

from bayes_cpt.areas import FloatArray, IntArray
from bayes_cpt.coefficients import Reference
from bayes_cpt.coordinates import bend_of
from bayes_cpt.curves import Curves, curves_from_frames, digest, select
from bayes_cpt.discrepancy import Seen, effect_dimension, effect_labels
from bayes_cpt.errors import FitFileError
from bayes_cpt.likelihood import Model, effect_columns, effects_given_losses, evaluate
from bayes_cpt.model import build, domain_models, measured_nodes
from bayes_cpt.observations import Observations, observe
from bayes_cpt.out_of_domain import (
    COEFFICIENTS,
    DEPARTURES,
    SCALE,
    Changes,
    combination,
    departure_columns,
    departures_by_lineage,
    variance,
)
from bayes_cpt.sampling import Density, compile_density, sample_posterior
from bayes_cpt.specs import DEFAULT_MODEL, Spec, parse_spec, read_spec

R_HAT_LIMIT = 1.02
ESS_LIMIT = 200
DIVERGENT_LIMIT = 0.01
CHUNK = 50
"""Draws worked on at a time, to bound memory."""
TABLES = ("runs", "learning_rates", "losses")


@dataclass(frozen=True)
class Fit:
    """A posterior and what it was made from.

    Parameters
    ----------
    tree
        ArviZ groups: posterior, sample_stats, observed_data, constant_data and, once checked, posterior_predictive.
        The posterior's ``effect_NAME`` are the discrepancy's effects on the fitted runs.
    spec
        The model.
    curves
        The fitted runs, their LRs and losses.
    models
        By domain, what is fixed about its model.
    """

    tree: xr.DataTree
    spec: Spec
    curves: Curves
    models: Mapping[str, Model]

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
        """Whether the sampler's diagnostics allow to trust the draws."""
        return bool(self.tree.attrs["converged"])

    @property
    def verdict(self) -> str:
        """What the diagnostics say, in words."""
        return str(self.tree.attrs["verdict"])


@dataclass(frozen=True)
class Prepared:
    """A model compiled for curves: it can be fitted to all of them, or to a part, without compiling again.

    Parameters
    ----------
    spec
        The model file.
    curves
        Runs and their LRs; losses of the fitted domains.
    observations
        What is fitted.
    model
        In PyMC.
    density
        Its log density.
    """

    spec: Spec
    curves: Curves
    observations: Observations
    model: pm.Model
    density: Density


def fit(
    curves: Curves,
    law: str | Path | Spec = DEFAULT_MODEL,
    *,
    domains: Sequence[str] | None = None,
    draws: int = 800,
    tune: int = 300,
    chains: int = 2,
    seed: int = 1,
    progress: bool = True,
) -> Fit:
    """Fit a model to curves by MCMC.

    Parameters
    ----------
    curves
        Runs to fit, of one model size.
    law
        Name of a shipped model, path of a model file, or a Spec, as `bayes_cpt.knowledge.with_priors` gives.
    domains
        By default all that were measured: ``pt`` and ``cpt`` by the law; others, in continual pre-training, as a
        combination of the two.
    draws, tune, chains
        Of the sampler, a chain.
    seed
        Same seed, same machine: same draws.
    progress
        Whether to show a progress bar.

    Raises
    ------
    DataError, SpecError
        If the data or the model file do not fit the law.
    KeyboardInterrupt
        If interrupted; nothing is kept.
    """
    prepared = prepare(curves, law, domains=domains)
    return fit_prepared(prepared, draws=draws, tune=tune, chains=chains, seed=seed, progress=progress)


def prepare(
    curves: Curves, law: str | Path | Spec = DEFAULT_MODEL, *, domains: Sequence[str] | None = None
) -> Prepared:
    """Compile a model for curves; arguments and errors as of `fit`."""
    spec = read_spec(law)
    observations = observe(curves, spec.law, domains)
    model = build(spec, observations)
    chosen = select(curves, domains=observations.every_domain)
    return Prepared(spec, chosen, observations, model, compile_density(model))


def fit_prepared(
    prepared: Prepared,
    left_out: Mapping[str, int] = MappingProxyType({}),
    *,
    draws: int = 800,
    tune: int = 300,
    chains: int = 2,
    seed: int = 1,
    progress: bool = True,
) -> Fit:
    """Fit a compiled model to its curves, or to a part of them.

    Parameters
    ----------
    prepared
        The compiled model. The scales of its priors are those of all its curves.
    left_out
        By run, the first step that is left out; 0 leaves the whole run out, as if it had not been run.
    draws, tune, chains, seed, progress
        As of `fit`.
    """
    observations = without(prepared.observations, left_out)
    density = prepared.density._replace(
        data={**prepared.density.data, **measured_nodes(observations)},
        bend=bend_of(prepared.density.start, observations.domains, _ratios(prepared.curves, left_out)),
    )
    tree = sample_posterior(
        prepared.model, density, draws=draws, tune=tune, chains=chains, seed=seed, progress=progress
    )
    converged, verdict = diagnose(tree)
    tree.attrs = {
        "seed": seed,
        "sampling": json.dumps({"draws": draws, "tune": tune, "chains": chains}),
        "converged": int(converged),
        "verdict": verdict,
    }
    return with_data(prepared, left_out, tree)


def _ratios(curves: Curves, left_out: Mapping[str, int]) -> set[float]:
    """Return the replay ratios of the runs of which something is fitted."""
    fitted = [run for run in curves.losses["run"].unique() if left_out.get(run, 1)]
    return set(curves.runs["replay"].loc[fitted].dropna())


def with_data(prepared: Prepared, left_out: Mapping[str, int], drawn: xr.DataTree) -> Fit:
    """Make a fit of draws: add the effects on the fitted runs, the data, and what they were made from.

    Parameters
    ----------
    prepared, left_out
        As of `fit_prepared`.
    drawn
        Draws of the parameters given what was not left out, with the attributes seed, sampling, converged, verdict.
    """
    spec, observations = prepared.spec, without(prepared.observations, left_out)
    curves = _curves_without(prepared.curves, left_out)
    models = domain_models(spec, observations)
    tree, seed = drawn.copy(), int(drawn.attrs["seed"])
    posterior = _with_effects(tree["posterior"].to_dataset(), models, observations, seed)
    departing = observations.out_of_domain and SCALE in posterior
    tree["posterior"] = _with_departures(posterior, observations, seed) if departing else posterior
    tree["observed_data"] = _observed(observations)
    tree["constant_data"] = _constant(observations)
    tree.attrs = {
        **drawn.attrs,
        "model": spec.name,
        "model_text": spec.text,
        "law": spec.law.name,
        "references": json.dumps(
            {name: {"reference": model.reference, "seen": model.seen} for name, model in models.items()}
        ),
        "data_digest": digest(curves),
        "versions": json.dumps({name: version(name) for name in ("bayes-cpt", "pymc", "nutpie", "arviz", "jax")}),
        "set_aside": len(observations.set_aside),
        "out_of_domain_set_aside": sum(found.set_aside for found in observations.out_of_domain.values()),
    }
    return Fit(tree, spec, curves, models)


def without(observations: Observations, left_out: Mapping[str, int]) -> Observations:
    """Leave the measurements of some runs' steps out; the design stays as it is."""
    static = observations.design
    first = np.array([left_out.get(run, np.iinfo(np.int64).max) for run in static.runs])
    kept = static.step < first[static.run]
    return replace(
        observations,
        nodes={domain: nodes[kept[nodes]] for domain, nodes in observations.nodes.items()},
        losses={domain: losses[kept[observations.nodes[domain]]] for domain, losses in observations.losses.items()},
        out_of_domain={domain: found.part(kept[found.nodes]) for domain, found in observations.out_of_domain.items()},
    )


def _curves_without(curves: Curves, left_out: Mapping[str, int]) -> Curves:
    first = curves.losses["run"].map(left_out).astype(float).fillna(np.inf)
    gone = [run for run, step in left_out.items() if step == 0]
    return Curves(
        curves.runs[~curves.runs.index.isin(gone)],
        curves.lr[~curves.lr["run"].isin(gone)],
        curves.losses[curves.losses["step"] < first],
    )


def summary(fit: Fit) -> pd.DataFrame:
    """Return a table of the parameters and the law's own coefficients: mean, sd, 90 % interval, ESS, R-hat."""
    return _summary(fit.tree, ci_prob=0.9, round_to="none")


def diagnose(tree: xr.DataTree) -> tuple[bool, str]:
    """Return whether a sampler's draws can be trusted, and why, in words."""
    table = _summary(tree, kind="diagnostics", round_to="none")
    worst, bulk, tail = table["r_hat"].max(), table["ess_bulk"].min(), table["ess_tail"].min()
    diverging = tree["sample_stats"]["diverging"].to_numpy()
    faults = []
    if not worst <= R_HAT_LIMIT:
        faults.append(f"chains disagree on {table['r_hat'].idxmax()}")
    if not min(bulk, tail) >= ESS_LIMIT:
        faults.append(f"too few effective draws of {table[['ess_bulk', 'ess_tail']].min(axis=1).idxmin()}")
    if diverging.mean() > DIVERGENT_LIMIT:
        faults.append("the sampler diverged")
    numbers = (
        f"largest R-hat {worst:.3f}, smallest bulk ESS {bulk:.0f}, smallest tail ESS {tail:.0f}, "
        f"{int(diverging.sum())} divergences in {diverging.size} draws"
    )
    if faults:
        advice = "sample longer (--draws, --tune), or use fewer parameters or tighter priors"
        return False, f"NOT CONVERGED: {'; '.join(faults)} ({numbers}). Do not trust these intervals: {advice}."
    return True, f"converged ({numbers})"


def _summary(tree: xr.DataTree, **options: Any) -> pd.DataFrame:
    names = [str(name) for name in tree["posterior"].data_vars if not str(name).startswith("effect_")]
    # a coefficient that does not vary (C1 of an open checkpoint) has no diagnostics
    varying = [name for name in names if float(np.std(tree["posterior"][name].to_numpy())) > 0]
    return pd.DataFrame(az.summary(tree, var_names=varying, **options))


def parameters_of(posterior: xr.Dataset, domain: str, dimension: str = "domain") -> dict[str, FloatArray]:
    """Return one domain's parameters, (draws,) each, chains one after the other."""
    chosen = posterior.sel({dimension: domain})
    names = [name for name, values in chosen.data_vars.items() if values.dims == ("chain", "draw")]
    return {str(name): chosen[name].to_numpy().ravel() for name in names}


def with_draws(fit: Fit, places: IntArray) -> Fit:
    """Return a fit with the draws at these places, chains one after the other, as one chain."""
    posterior = fit.posterior
    chain, draw = (xr.DataArray(index, dims="place") for index in divmod(places, posterior.sizes["draw"]))
    chosen = posterior.drop_vars(["chain", "draw"]).isel(chain=chain, draw=draw).rename(place="draw")
    tree = fit.tree.copy()
    tree["posterior"] = chosen.expand_dims(chain=[0]).assign_coords(draw=np.arange(len(places)))
    return replace(fit, tree=tree)


def in_chunks(parameters: Mapping[str, FloatArray], size: int = CHUNK) -> list[dict[str, FloatArray]]:
    """Cut draws into pieces of at most ``size``."""
    count = len(next(iter(parameters.values())))
    return [{name: values[at : at + size] for name, values in parameters.items()} for at in range(0, count, size)]


def _with_effects(
    posterior: xr.Dataset, models: Mapping[str, Model], observations: Observations, seed: int
) -> xr.Dataset:
    """Add draws of the discrepancy's effects on the fitted runs, given the parameters and the losses."""
    random = np.random.default_rng([seed, 1])
    by_domain: dict[str, dict[str, FloatArray]] = {}
    for domain, model in models.items():
        pieces = [_effects(model, observations, piece, random) for piece in in_chunks(parameters_of(posterior, domain))]
        by_domain[domain] = {name: np.concatenate([piece[name] for piece in pieces]) for name in model.components}
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    for name in next(iter(models.values())).components:
        values = np.stack([effects[name] for effects in by_domain.values()], axis=1).reshape(*shape, len(models), -1)
        labels, dimension = effect_labels(name, observations.design), effect_dimension(name)
        posterior[f"effect_{name}"] = (("chain", "draw", "domain", dimension), values)
        posterior = posterior.assign_coords({dimension: labels})
    return posterior


def _effects(
    model: Model, observations: Observations, parameters: Mapping[str, FloatArray], random: np.random.Generator
) -> dict[str, FloatArray]:
    evaluation = evaluate(model, observations.design, parameters)
    nodes = observations.nodes[model.domain]
    return effects_given_losses(
        {name: columns[..., nodes] for name, columns in effect_columns(model, evaluation).items()},
        {name: parameters[f"{name}_scale"] for name in model.components},
        evaluation.noise_variance[:, nodes],
        observations.losses[model.domain] - evaluation.law[:, nodes],
        random,
    )


def _with_departures(posterior: xr.Dataset, observations: Observations, seed: int) -> xr.Dataset:
    """Add draws of the fitted runs' departures from the coefficients of out-of-domain sets, given their losses."""
    random = np.random.default_rng([seed, 2])
    rate = observations.design.features["relative_learning_rate"]
    drawn = []
    for domain, found in observations.out_of_domain.items():
        own = parameters_of(posterior, domain, "out_of_domain")
        pieces = [_departures(found, piece, rate[found.nodes], random) for piece in in_chunks(own)]
        drawn.append(departures_by_lineage(np.concatenate(pieces)))
    lineages = next(iter(observations.out_of_domain.values())).lineages
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(drawn), len(lineages), len(COEFFICIENTS))
    values = np.stack(drawn, axis=1).reshape(shape)
    dimensions = ("chain", "draw", "out_of_domain", "k_run", "coefficient")
    return posterior.assign({DEPARTURES: (dimensions, values)}).assign_coords(
        k_run=list(lineages), coefficient=list(COEFFICIENTS)
    )


def _departures(
    found: Changes, parameters: Mapping[str, FloatArray], rate: FloatArray, random: np.random.Generator
) -> FloatArray:
    effects = effects_given_losses(
        {SCALE: departure_columns(found)},
        {SCALE: parameters[SCALE]},
        variance(parameters, rate),
        found.loss - found.level - combination(parameters, found.basis),
        random,
    )
    return effects[SCALE]


def _observed(observations: Observations) -> xr.Dataset:
    combined = {domain: found.loss for domain, found in observations.out_of_domain.items()}
    losses = {**observations.losses, **combined}
    return xr.Dataset({f"loss_{domain}": (f"point_{domain}", values) for domain, values in losses.items()})


def _constant(observations: Observations) -> xr.Dataset:
    """Return run and step of every measured point."""
    runs, static = np.array(observations.design.runs), observations.design
    columns = {}
    combined = {domain: found.nodes for domain, found in observations.out_of_domain.items()}
    for domain, nodes in {**observations.nodes, **combined}.items():
        columns[f"run_{domain}"] = (f"point_{domain}", runs[static.run[nodes]])
        columns[f"step_{domain}"] = (f"point_{domain}", static.step[nodes])
    return xr.Dataset(columns)


# In and out ---------------------------------------------------------------------------------------------------------


def as_tree(fit: Fit) -> xr.DataTree:
    """Return all of a fit as a tree that can be written."""
    tree = fit.tree.copy()
    tables = (fit.curves.runs.reset_index(), fit.curves.lr, fit.curves.losses)
    texts = {name: frame.to_csv(index=False) for name, frame in zip(TABLES, tables, strict=True)}
    tree.attrs = {**fit.tree.attrs, **texts}
    return tree


def from_tree(tree: xr.DataTree, path: str | Path) -> Fit:
    """Return the fit that `as_tree` made a tree of; ``path`` is where it was read.

    Raises
    ------
    FitFileError
        If it is another tree.
    """
    missing = [name for name in ("model", "model_text", "references", *TABLES) if name not in tree.attrs]
    if missing or "posterior" not in tree:
        raise FitFileError(f"{path} was not written by bayes-cpt fit: it lacks {', '.join(missing or ['posterior'])}")
    spec = parse_spec(tree.attrs["model"], tree.attrs["model_text"])
    runs, rates, losses = (pd.read_csv(io.StringIO(tree.attrs.pop(name))) for name in TABLES)
    curves = curves_from_frames(runs, rates, losses)
    references = json.loads(tree.attrs["references"])
    models = {
        domain: Model(spec.law, spec.components, domain, Reference(*fixed["reference"]), Seen(*fixed["seen"]))
        for domain, fixed in references.items()
    }
    return Fit(tree, spec, curves, models)
