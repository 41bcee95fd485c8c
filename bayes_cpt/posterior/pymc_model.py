"""From a model file and observations to a PyMC model."""

from collections.abc import Mapping, Sequence

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from bayes_cpt._support.typing import Array, FloatArray
from bayes_cpt.errors import SpecError
from bayes_cpt.posterior.low_rank_op import marginal_log_likelihood
from bayes_cpt.statistical_model.likelihood import DomainModel, coefficients, domain_models, effect_columns, evaluate
from bayes_cpt.statistical_model.model_files import ModelSpec, Prior
from bayes_cpt.statistical_model.observations import Observations
from bayes_cpt.statistical_model.out_of_domain import (
    PARAMETERS,
    SCALE,
    Changes,
    combination,
    departure_columns,
    spread_over,
    variance,
)


def build(spec: ModelSpec, observations: Observations) -> pm.Model:
    """Build the model of all domains and runs.

    Parameters have the dimension ``domain``, except those of the checkpoint. The law's own coefficients are
    deterministics. The discrepancy's effects are integrated out: `bayes_cpt.inference.fit` draws them afterwards.
    Parameters of out-of-domain sets have the dimension ``out_of_domain``.

    Raises
    ------
    SpecError
        If there are out-of-domain sets and the model has no priors for them.
    """
    with pm.Model(coords=_coordinates(spec, observations)) as pymc_model:
        sampled = {
            name: _common(name, prior, observations)
            if name in spec.law.checkpoint_parameters
            else _variable(name, prior, observations, "domain", observations.domains)
            for name, prior in spec.priors.items()
        }
        own: dict[str, list[TensorVariable]] = {}
        for index, fixed in enumerate(domain_models(spec, observations).values()):
            parameters = {name: value if value.ndim == 0 else value[index] for name, value in sampled.items()}
            for name, value in coefficients(fixed, parameters).items():
                own.setdefault(name, []).append(value)
            _likelihood(fixed._replace(components=spec.fitted_components), observations, parameters)
        for name in (name for name in own if name not in sampled):  # in order, not as a set: draws depend on the order
            pm.Deterministic(name, pt.stack(own[name]), dims="domain")
        if observations.out_of_domain:
            _combinations(spec, observations)
    return pymc_model


def _coordinates(spec: ModelSpec, observations: Observations) -> dict[str, list[str]]:
    out_of_domain = list(observations.out_of_domain)
    if out_of_domain and not spec.out_of_domain:
        raise SpecError(
            f"model {spec.name!r} has no priors for out-of-domain sets ({', '.join(out_of_domain)}): add [priors.NAME] "
            f"of {', '.join(PARAMETERS)}, as in models/cpt.toml, or fit pt and cpt alone with --domains"
        )
    return {"domain": list(observations.domains)} | ({"out_of_domain": out_of_domain} if out_of_domain else {})


def measured_points(observations: Observations) -> dict[str, FloatArray]:
    """Return, by the name of the model's data, 1 at each measured point and 0 elsewhere."""
    combined = {domain: found.places for domain, found in observations.out_of_domain.items()}
    return {
        _measured(domain): spread_over(places, np.ones(len(places)), len(observations.design.run))
        for domain, places in {**observations.places, **combined}.items()
    }


def _measured(domain: str) -> str:
    return f"measured_{domain}"


def _common(name: str, prior: Prior, observations: Observations) -> TensorVariable:
    """Add a parameter that all domains share, in the unit of the first one: steps and areas are the same for all."""
    arguments = {key: values[0] for key, values in _arguments(prior, observations, observations.domains[:1]).items()}
    return getattr(pm, prior.family)(name, **arguments)


def _variable(
    name: str, prior: Prior, observations: Observations, dimension: str, domains: Sequence[str]
) -> TensorVariable:
    return getattr(pm, prior.family)(name, **_arguments(prior, observations, domains), dims=dimension)


def _arguments(prior: Prior, observations: Observations, domains: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the arguments of a prior as PyMC takes them, (domains,) each."""
    by_domain = [prior.in_units(observations.scale(prior.unit, domain), domain) for domain in domains]
    arguments = {key: np.array([given[key] for given in by_domain]) for key in by_domain[0]}
    if prior.family == "LogNormal":
        arguments["mu"] = np.log(arguments.pop("median"))
    return arguments


def _likelihood(fixed: DomainModel, observations: Observations, parameters: Mapping[str, TensorVariable]) -> None:
    """Add the losses of a domain: Gaussian, with the effects of the discrepancy integrated out.

    Points without a measured loss stay in, with weight 0: indexing them away costs more in the gradient.
    """
    count = len(observations.design.run)
    evaluation = evaluate(fixed, observations.design, parameters)
    measured = measured_points(observations)[_measured(fixed.domain)]
    losses = spread_over(observations.places[fixed.domain], observations.losses[fixed.domain], count)
    pm.CustomDist(
        f"loss_{fixed.domain}",
        evaluation.law,
        evaluation.noise_variance,
        _scaled_columns(effect_columns(fixed, evaluation), parameters, count),
        pm.Data(_measured(fixed.domain), measured),
        logp=marginal_log_likelihood,
        signature="(n),(n),(k,n),(n)->(n)",
        observed=pm.Data(f"observed_{fixed.domain}", losses),
    )


def _scaled_columns(
    columns: Mapping[str, Array], parameters: Mapping[str, TensorVariable], count: int
) -> TensorVariable:
    parts = [pt.as_tensor(values) * parameters[f"{name}_scale"] for name, values in columns.items()]
    return pt.as_tensor(pt.concatenate(parts, axis=0) if parts else np.zeros((0, count)))


def _combinations(spec: ModelSpec, observations: Observations) -> None:
    """Add the out-of-domain sets: their losses given the measured ones of pt and cpt."""
    names = tuple(observations.out_of_domain)
    sampled = {
        name: _variable(name, prior, observations, "out_of_domain", names) for name, prior in spec.out_of_domain.items()
    }
    scaled = SCALE in sampled and spec.out_of_domain[SCALE].in_likelihood
    for index, (domain, found) in enumerate(observations.out_of_domain.items()):
        parameters = {name: values[index] for name, values in sampled.items()}
        _combination(domain, found, observations, parameters, with_departures=scaled)


def _combination(
    domain: str,
    found: Changes,
    observations: Observations,
    parameters: Mapping[str, TensorVariable],
    *,
    with_departures: bool,
) -> None:
    rate = observations.design.features["relative_learning_rate"]
    columns = spread_over(found.places, departure_columns(found), len(rate))
    pm.CustomDist(
        f"loss_{domain}",
        combination(parameters, spread_over(found.places, found.basis, len(rate))),
        variance(parameters, rate),
        pt.as_tensor(columns) * parameters[SCALE] if with_departures else pt.as_tensor(columns[:0]),
        pm.Data(_measured(domain), measured_points(observations)[_measured(domain)]),
        logp=marginal_log_likelihood,
        signature="(n),(n),(k,n),(n)->(n)",
        observed=pm.Data(f"observed_{domain}", spread_over(found.places, found.loss - found.level, len(rate))),
    )
