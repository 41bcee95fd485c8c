"""Approximate a fit without some runs from the draws of a fit with them, by Pareto-smoothed importance sampling.

The diagnostic Pareto k shows whether the draws cover the posterior without these runs. If it is too large, a refit is
needed. Vehtari et al., *Pareto Smoothed Importance Sampling*, JMLR 25, 2024, arXiv 1507.02646.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.fit import Fit, Prepared, with_data, with_draws, without
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.effect_draws import in_chunks, parameters_of
from bayes_cpt.statistical_model.likelihood import DomainModel, effect_columns, evaluate
from bayes_cpt.statistical_model.low_rank_gaussian import log_density
from bayes_cpt.statistical_model.observations import Observations

GOOD_K = 0.7
"""Largest Pareto k at which importance sampling can be trusted."""


class Reweighted(NamedTuple):
    """A fit with resampled draws, and the diagnostic of the weights."""

    fit: Fit
    pareto_k: float


def reweighted(prepared: Prepared, whole: Fit, left_out: Holdout) -> Reweighted:
    """Reweight the draws of a fit to all curves, so that they represent a fit to a part of them.

    Parameters
    ----------
    prepared
        The model, compiled for all curves.
    whole
        Its fit to all curves.
    left_out
        What is left out.
    """
    fewer = without(prepared.observations, left_out)
    lost = _log_likelihood(prepared, whole, prepared.observations) - _log_likelihood(prepared, whole, fewer)
    log_weights, k = array_stats.psislw(lost)
    count, seed = lost.size, int(whole.tree.attrs["seed"])
    # systematic resampling: each draw occurs as often as its weight says, rounded up or down
    places = (np.random.default_rng([seed, 2]).uniform() + np.arange(count)) / count
    shares = np.cumsum(np.exp(log_weights))
    chosen = np.minimum(np.searchsorted(shares / shares[-1], places), count - 1)
    return Reweighted(with_data(prepared, left_out, with_draws(whole, chosen).tree), float(k))


def _log_likelihood(prepared: Prepared, fit: Fit, observations: Observations) -> FloatArray:
    """Return the log density (draws,) of all measured losses, with the effects integrated out."""
    total = np.zeros(fit.posterior.sizes["chain"] * fit.posterior.sizes["draw"])
    # the smooth process keeps the range of all data
    for domain, model in prepared.models.items():
        fitted = model._replace(components=prepared.spec.fitted_components)
        pieces = in_chunks(parameters_of(fit.posterior, domain))
        total += np.concatenate([_of_domain(fitted, observations, piece) for piece in pieces])
    return total


def _of_domain(model: DomainModel, observations: Observations, parameters: Mapping[str, FloatArray]) -> FloatArray:
    evaluation, places = evaluate(model, observations.design, parameters), observations.places[model.domain]
    draws = len(evaluation.law)
    columns = [
        np.broadcast_to(values[..., places], (draws, values.shape[-2], len(places)))
        * parameters[f"{name}_scale"][:, None, None]
        for name, values in effect_columns(model, evaluation).items()
    ]
    return log_density(
        observations.losses[model.domain] - evaluation.law[:, places],
        evaluation.noise_variance[:, places],
        np.concatenate([np.zeros((draws, 0, len(places))), *columns], axis=1),
    )
