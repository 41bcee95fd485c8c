"""From a model file and observations to a PyMC model."""

from collections.abc import Mapping

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from bayes_cpt.areas import FloatArray
from bayes_cpt.discrepancy import Seen
from bayes_cpt.gaussian import marginal_log_likelihood
from bayes_cpt.laws import Array
from bayes_cpt.likelihood import Model, coefficients, effect_columns, evaluate
from bayes_cpt.observations import Observations
from bayes_cpt.specs import FAMILIES, Prior, Spec


def domain_models(spec: Spec, observations: Observations) -> dict[str, Model]:
    """Return what is fixed about each domain's model."""
    static = observations.design.features
    total = static["forward_area_pt"] + static["forward_area_cpt"]
    measured = total[np.concatenate(list(observations.nodes.values()))]
    sizes = static["model_size"]
    seen = Seen(
        float(np.log(measured.min() / total.max())),
        float(np.log(measured.max() / total.max())),
        float(np.log(sizes.min())),
        float(np.log(sizes.max())),
    )
    return {
        domain: Model(
            law=spec.law,
            components=spec.components,
            domain=domain,
            reference=observations.references[domain],
            seen=seen,
        )
        for domain in observations.domains
    }


def build(spec: Spec, observations: Observations) -> pm.Model:
    """Build the model of all domains and runs.

    Parameters carry the dimension ``domain``, but for those of the checkpoint. The law's own coefficients are
    deterministics. The discrepancy's effects are integrated out: `bayes_cpt.inference` draws them afterwards.
    """
    with pm.Model(coords={"domain": list(observations.domains)}) as model:
        sampled = {
            name: _variable(name, prior, observations, common=name in spec.law.checkpoint_parameters)
            for name, prior in spec.priors.items()
        }
        own: dict[str, list[TensorVariable]] = {}
        for index, fixed in enumerate(domain_models(spec, observations).values()):
            parameters = {name: value if value.ndim == 0 else value[index] for name, value in sampled.items()}
            for name, value in coefficients(fixed, parameters).items():
                own.setdefault(name, []).append(value)
            _likelihood(fixed._replace(components=spec.fitted_components), observations, parameters)
        for name in (name for name in own if name not in sampled):  # in order, not as a set: draws hang on it
            pm.Deterministic(name, pt.stack(own[name]), dims="domain")
    return model


def measured_nodes(observations: Observations) -> dict[str, FloatArray]:
    """Return, by the name of the model's data, 1 at each node that counts as measured and 0 elsewhere."""
    found = {}
    for domain, nodes in observations.nodes.items():
        found[_measured(domain)] = np.zeros(len(observations.design.run))
        found[_measured(domain)][nodes] = 1.0
    return found


def _measured(domain: str) -> str:
    return f"measured_{domain}"


def _variable(name: str, prior: Prior, observations: Observations, *, common: bool) -> TensorVariable:
    family = FAMILIES[prior.family]
    # what is common to the domains takes the first one's scale: units of steps and areas are the same for all
    domains = observations.domains[:1] if common else observations.domains
    scales = [observations.scales[prior.unit][domain] for domain in domains]

    def argument(key: str) -> np.ndarray:
        values = np.array([prior.argument(key, domain) for domain in domains])
        scaled = values * scales if key in family.scaled else values
        return scaled[0] if common else scaled

    arguments = {key: argument(key) for key in family.arguments}
    if prior.family == "LogNormal":
        arguments["mu"] = np.log(arguments.pop("median"))
    return getattr(pm, prior.family)(name, **arguments, dims=None if common else "domain")


def _likelihood(fixed: Model, observations: Observations, parameters: Mapping[str, TensorVariable]) -> None:
    """Add the losses of a domain: Gaussian, with the effects of the discrepancy integrated out.

    Nodes without a measured loss stay in, with weight 0: indexing them away costs more in the gradient.
    """
    static = observations.design
    evaluation = evaluate(fixed, static, parameters)
    measured = measured_nodes(observations)[_measured(fixed.domain)]
    losses = np.zeros(len(static.run))
    losses[observations.nodes[fixed.domain]] = observations.losses[fixed.domain]
    pm.CustomDist(
        f"loss_{fixed.domain}",
        evaluation.law,
        evaluation.noise_variance,
        _scaled_columns(effect_columns(fixed, evaluation), parameters, len(static.run)),
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
