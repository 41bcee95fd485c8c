"""The distribution of measured losses given parameters: law + discrepancy + noise, for one domain.

`evaluate` runs on NumPy arrays (parameters with leading dimensions for draws) and on PyTensor variables, so fits and
forecasts share one piece of code.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray
from bayes_cpt.laws.features import Design, FittedRange, with_areas
from bayes_cpt.laws.law import Law
from bayes_cpt.statistical_model.discrepancy import COMPONENTS, Evaluation, noise_variance
from bayes_cpt.statistical_model.low_rank_gaussian import draw_effects
from bayes_cpt.statistical_model.model_files import ModelSpec
from bayes_cpt.statistical_model.observations import Observations


class DomainModel(NamedTuple):
    """The parts of one domain's model that are not sampled.

    Parameters
    ----------
    law
        The law.
    components
        Names of the discrepancy components in use.
    domain
        The domain, by its name.
    fitted_range
        The range of the fitted data, to which the law's sampled parameters refer.
    role
        The domain as the law knows it, ``pt`` or ``cpt``.
    """

    law: Law
    components: tuple[str, ...]
    domain: str
    fitted_range: FittedRange
    role: str


def domain_models(spec: ModelSpec, observations: Observations) -> dict[str, DomainModel]:
    """Return the parts of each domain's model that are not sampled."""
    return {
        domain: DomainModel(
            spec.law, spec.components, domain, observations.fitted_range, observations.names.role(domain)
        )
        for domain in observations.domains
    }


def coefficients(model: DomainModel, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the law's own coefficients for sampled parameters."""
    names = (*model.law.parameters, *model.law.checkpoint_parameters)
    found = model.law.coefficients(model.fitted_range, model.role, **{name: parameters[name] for name in names})
    return {name: np.asarray(value) if isinstance(value, float) else value for name, value in found.items()}


def evaluate(model: DomainModel, design: Design, parameters: Mapping[str, Array]) -> Evaluation:
    """Evaluate a domain's model at all points of a design."""
    features = with_areas(design, parameters)
    own = {name: value[..., None] for name, value in coefficients(model, parameters).items()}
    terms = model.law.predict(model.role, features, own)
    variance = noise_variance(
        features["relative_learning_rate"],
        terms.shift,
        parameters["noise_floor"],
        parameters.get("noise_learning_rate", np.zeros(())),
        parameters.get("noise_shift", np.zeros(())),
    )
    return Evaluation(design, terms, variance, model.fitted_range)


def effect_columns(model: DomainModel, evaluation: Evaluation) -> dict[str, Array]:
    """Return, by component, the change of the loss by effects of size 1, (..., effects, points)."""
    return {name: COMPONENTS[name].columns(evaluation) for name in model.components}


def discrepancy(evaluation: Evaluation, effects: Mapping[str, FloatArray]) -> Array:
    """Return the sum of the effects (..., effects) of all components, (..., points)."""
    return sum((COMPONENTS[name].together(evaluation, values) for name, values in effects.items()), np.zeros(()))


def effects_given_losses(
    columns: Mapping[str, FloatArray],
    scales: Mapping[str, FloatArray],
    variance: FloatArray,
    residual: FloatArray,
    random: np.random.Generator,
) -> dict[str, FloatArray]:
    """Draw the effects given parameters and measured losses, one for each draw of the parameters.

    Parameters
    ----------
    columns
        By component, (draws, effects, points) or (effects, points): effects of size 1 at the measured points.
    scales
        By component, (draws,): their standard deviation.
    variance
        (draws, points) Variance of the noise.
    residual
        (draws, points) Losses minus the law.
    random
        Source of randomness.

    Returns
    -------
    dict
        By component, (draws, effects), in units of the columns.
    """
    if not columns:
        return {}
    draws = len(residual)
    parts = {
        name: np.broadcast_to(values, (draws, *values.shape[-2:])) * scales[name][:, None, None]
        for name, values in columns.items()
    }
    standard = draw_effects(residual, variance, np.concatenate(list(parts.values()), axis=1), random)
    widths = [part.shape[1] for part in parts.values()]
    split = np.split(standard, np.cumsum(widths)[:-1], axis=-1)
    return {name: scales[name][:, None] * values for name, values in zip(parts, split, strict=True)}
