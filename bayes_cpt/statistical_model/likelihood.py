"""The distribution of measured losses given parameters: law + discrepancy + noise, for one domain.

``evaluate`` runs on NumPy arrays (parameters with leading dimensions for draws) and on PyTensor variables alike, so
that what is fitted and what is forecast are one piece of code.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray
from bayes_cpt.laws.coefficients import Reference
from bayes_cpt.laws.features import Design, with_areas
from bayes_cpt.laws.registry import Law
from bayes_cpt.statistical_model.discrepancy import COMPONENTS, Nodes, Seen, noise_variance


class Model(NamedTuple):
    """What is fixed about one domain's model.

    Parameters
    ----------
    law
        The law.
    components
        Parts of the discrepancy in use.
    domain
        The domain.
    reference
        Where the law's observable parameters are read.
    seen
        The range of the fitted data.
    """

    law: Law
    components: tuple[str, ...]
    domain: str
    reference: Reference
    seen: Seen


class Evaluation(NamedTuple):
    """A domain's losses at the nodes of a design.

    Parameters
    ----------
    nodes
        The terms of the law, (..., nodes) each, and what else the discrepancy is made of.
    noise_variance
        (..., nodes).
    """

    nodes: Nodes
    noise_variance: Array

    @property
    def law(self) -> Array:
        """What the law says, (..., nodes)."""
        return self.nodes.terms.loss


def coefficients(model: Model, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the law's own coefficients for sampled parameters."""
    names = (*model.law.parameters, *model.law.checkpoint_parameters)
    found = model.law.coefficients(model.reference, **{name: parameters[name] for name in names})
    return {name: np.asarray(value) if isinstance(value, float) else value for name, value in found.items()}


def evaluate(model: Model, design: Design, parameters: Mapping[str, Array]) -> Evaluation:
    """Evaluate a domain's model at all nodes of a design."""
    features = with_areas(design, parameters)
    own = {name: value[..., None] for name, value in coefficients(model, parameters).items()}
    terms = model.law.predict(model.domain, features, own)
    area = design.features["forward_area_pt"] + design.features["forward_area_cpt"]
    nodes = Nodes(
        design=design,
        terms=terms,
        log_forward_area=np.log(np.maximum(area, design.peak) / model.reference.forward_area),
        log_forward_area_cpt=np.log(
            np.maximum(design.features["forward_area_cpt"], design.peak) / model.reference.forward_area_cpt
        ),
        seen=model.seen,
    )
    variance = noise_variance(
        features["relative_learning_rate"],
        terms.shift,
        parameters["noise_floor"],
        parameters.get("noise_learning_rate", np.zeros(())),
        parameters.get("noise_shift", np.zeros(())),
    )
    return Evaluation(nodes, variance)


def effect_columns(model: Model, evaluation: Evaluation) -> dict[str, Array]:
    """Return, by component, what effects of size 1 do: (..., effects, nodes)."""
    return {name: COMPONENTS[name].columns(evaluation.nodes) for name in model.components}


def discrepancy(evaluation: Evaluation, effects: Mapping[str, FloatArray]) -> Array:
    """Return what the effects (..., effects), by component, do together: (..., nodes)."""
    return sum((COMPONENTS[name].total(evaluation.nodes, values) for name, values in effects.items()), np.zeros(()))


def marginal_log_density(residual: FloatArray, variance: FloatArray, columns: FloatArray) -> FloatArray:
    """Log density (draws,) of residuals that are Normal(0, diag(variance) + columns^T columns), by Woodbury's identity.

    Parameters
    ----------
    residual, variance
        (draws, points).
    columns
        (draws, effects, points) What effects do, at one standard deviation.
    """
    weighted = columns / variance[:, None]
    lower = np.linalg.cholesky(np.eye(columns.shape[1]) + weighted @ np.swapaxes(columns, 1, 2))
    projected = np.linalg.solve(lower, weighted @ residual[..., None])[..., 0]
    squares = (residual**2 / variance).sum(axis=-1) - (projected**2).sum(axis=-1)
    diagonal = np.diagonal(lower, axis1=1, axis2=2)
    return -0.5 * (squares + np.log(2 * np.pi * variance).sum(axis=-1)) - np.log(diagonal).sum(axis=-1)


def effects_given_losses(
    columns: Mapping[str, FloatArray],
    scales: Mapping[str, FloatArray],
    variance: FloatArray,
    residual: FloatArray,
    random: np.random.Generator,
) -> dict[str, FloatArray]:
    """Draw the effects given parameters and measured losses, one draw a draw of the parameters.

    Parameters
    ----------
    columns
        By component, (draws, effects, points) or without draws: what effects of size 1 do at the measured points.
    scales
        By component, (draws,): their standard deviation.
    variance
        (draws, points) Of the noise.
    residual
        (draws, points) Losses less the law.
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
    scaled = np.concatenate(list(parts.values()), axis=1)
    weighted = scaled / variance[:, None]
    lower = np.linalg.cholesky(np.eye(scaled.shape[1]) + weighted @ np.swapaxes(scaled, 1, 2))
    projected = np.linalg.solve(lower, weighted @ residual[..., None])
    noise = random.standard_normal(projected.shape)
    standard = np.linalg.solve(np.swapaxes(lower, 1, 2), projected + noise)[..., 0]
    widths = [part.shape[1] for part in parts.values()]
    split = np.split(standard, np.cumsum(widths)[:-1], axis=-1)
    return {name: scales[name][:, None] * values for name, values in zip(parts, split, strict=True)}
