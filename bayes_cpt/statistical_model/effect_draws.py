"""Draws of the effects on the fitted runs, given the draws of the parameters and the measured losses."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.statistical_model.bins import Bins
from bayes_cpt.statistical_model.discrepancy import effect_dimension, effect_labels
from bayes_cpt.statistical_model.likelihood import DomainModel, effect_columns, effects_given_losses, evaluate
from bayes_cpt.statistical_model.observations import Observations
from bayes_cpt.statistical_model.out_of_domain import (
    COEFFICIENTS,
    DEPARTURES,
    SCALE,
    Changes,
    combination,
    departure_columns,
    departures_by_lineage,
    variance,
)

CHUNK = 50
"""Number of draws processed at a time, to bound memory."""


def parameters_of(posterior: xr.Dataset, domain: str, dimension: str = "domain") -> dict[str, FloatArray]:
    """Return one domain's parameters, (draws,) each, chains one after the other."""
    chosen = posterior.sel({dimension: domain})
    names = [name for name, values in chosen.data_vars.items() if values.dims == ("chain", "draw")]
    return {str(name): chosen[name].to_numpy().ravel() for name in names}


def in_chunks(parameters: Mapping[str, FloatArray], size: int = CHUNK) -> list[dict[str, FloatArray]]:
    """Cut draws into pieces of at most ``size``."""
    count = len(next(iter(parameters.values())))
    return [{name: values[at : at + size] for name, values in parameters.items()} for at in range(0, count, size)]


def with_effects(
    posterior: xr.Dataset, models: Mapping[str, DomainModel], bins: Mapping[str, Bins], seed: int
) -> xr.Dataset:
    """Add draws of the discrepancy's effects on the fitted runs, given the parameters and the losses."""
    random = np.random.default_rng([seed, 1])
    by_domain: dict[str, dict[str, FloatArray]] = {}
    for domain, model in models.items():
        pieces = [_effects(model, bins[domain], piece, random) for piece in in_chunks(parameters_of(posterior, domain))]
        by_domain[domain] = {name: np.concatenate([piece[name] for piece in pieces]) for name in model.components}
    shape, design = (posterior.sizes["chain"], posterior.sizes["draw"]), next(iter(bins.values())).design
    for name in next(iter(models.values())).components:
        values = np.stack([effects[name] for effects in by_domain.values()], axis=1).reshape(*shape, len(models), -1)
        labels, dimension = effect_labels(name, design), effect_dimension(name)
        posterior[f"effect_{name}"] = (("chain", "draw", "domain", dimension), values)
        posterior = posterior.assign_coords({dimension: labels})
    return posterior


def _effects(
    model: DomainModel, bins: Bins, parameters: Mapping[str, FloatArray], random: np.random.Generator
) -> dict[str, FloatArray]:
    evaluation, measured = evaluate(model, bins.design, parameters), bins.count > 0
    return effects_given_losses(
        {name: columns[..., measured] for name, columns in effect_columns(model, evaluation).items()},
        {name: parameters[f"{name}_scale"] for name in model.components},
        evaluation.noise_variance[:, measured] / bins.count[measured],
        bins.loss[measured] - evaluation.law[:, measured],
        random,
    )


def with_departures(posterior: xr.Dataset, observations: Observations, seed: int) -> xr.Dataset:
    """Add draws of the fitted runs' departures from the coefficients of out-of-domain sets, given their losses."""
    random = np.random.default_rng([seed, 2])
    rate = observations.design.features["relative_learning_rate"]
    drawn = []
    for domain, found in observations.out_of_domain.items():
        own = parameters_of(posterior, domain, "out_of_domain")
        pieces = [_departures(found, piece, rate[found.places], random) for piece in in_chunks(own)]
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
