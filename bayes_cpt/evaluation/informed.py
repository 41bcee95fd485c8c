"""Tables of the parameters: their posteriors, and which of them the data inform."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.diagnostics import summarise
from bayes_cpt.inference.fit import Fit
from bayes_cpt.statistical_model.model_files import FAMILIES, Prior
from bayes_cpt.statistical_model.observations import Observations, observe

LEARNT = 0.5
"""Posterior width / prior width below which the data inform a parameter."""
RESTING = 0.8
"""The same above which it rests on its prior."""
MIDDLE = (0.25, 0.75)
"""Quantiles between which a width is measured: tails of a few draws do not change it."""

COMPARED: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "Normal": stats.norm,
        "LogNormal": lambda median, sigma: stats.norm(np.log(median), sigma),
        "HalfNormal": lambda sigma: stats.halfnorm(scale=sigma),
        "Beta": stats.beta,
        "Uniform": lambda lower, upper: stats.uniform(lower, upper - lower),
    }
)
"""By family of priors, from its arguments to its distribution on the scale on which widths are compared.

For log-normal priors it is the scale of the logarithm.
"""
IN_UNITS = frozenset({"Normal", "HalfNormal", "Uniform"})
"""Families whose widths are in the prior's unit."""


def summary(fit: Fit) -> pd.DataFrame:
    """Return a table of the parameters and the law's own coefficients.

    Parameters
    ----------
    fit
        The fit.

    Returns
    -------
    DataFrame
        One row per parameter and domain: mean, sd, 90 % interval, bulk and tail ESS, R-hat, Monte Carlo errors.

    References
    ----------
    Vehtari et al., *Rank-normalization, folding, and localization: An improved R-hat*, Bayesian Analysis 16, 2021.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.summary(bc.load("fit.nc")).loc["alpha[pt]", ["mean", "sd", "r_hat"]]  # doctest: +SKIP
    """
    return summarise(fit.tree, ci_prob=0.9, round_to="none")


def informed(fit: Fit) -> pd.DataFrame:
    """Compare the posterior of each sampled parameter with its prior, to see which parameters the data inform.

    Parameters
    ----------
    fit
        The fit.

    Returns
    -------
    DataFrame
        One row per parameter (``name[domain]``): ``parameter`` and ``domain`` (empty if all domains share it);
        ``prior_width`` and ``posterior_width``, interquartile ranges, of the logarithm if the prior is log-normal;
        ``width``, their ratio; ``learnt``, whether the ratio is below ``LEARNT``. Parameters of effects that are only
        added to forecasts are left out.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> table = bc.informed(bc.load("fit.nc"))  # doctest: +SKIP
    >>> table[~table["learnt"]].index.tolist()  # doctest: +SKIP
    ['offset_scale[pt]', 'offset_scale[cpt]']
    """
    observations, posterior = observe(fit.curves, fit.spec.law, fit.every_domain), fit.posterior
    compared = {
        name: prior
        for name, prior in {**fit.spec.priors, **fit.spec.out_of_domain}.items()
        if name in posterior and prior.in_likelihood
    }
    rows = [
        (name, domain, prior_width(prior, observations, domain), _posterior_width(prior, draws))
        for name, prior in compared.items()
        for domain, draws in _by_domain(posterior[name]).items()
    ]
    table = pd.DataFrame(rows, columns=["parameter", "domain", "prior_width", "posterior_width"])
    table.index = pd.Index([f"{name}[{domain}]" if domain else name for name, domain, *_ in rows])
    width = table["posterior_width"] / table["prior_width"]
    return table.assign(width=width, learnt=width < LEARNT)


def _by_domain(parameter: xr.DataArray) -> dict[str, FloatArray]:
    """Return the draws by domain, or under an empty name if all domains share the parameter."""
    axes = [axis for axis in parameter.dims if axis not in {"chain", "draw"}]
    if not axes:
        return {"": parameter.to_numpy()}
    return {str(domain): parameter.sel({axes[0]: domain}).to_numpy() for domain in parameter[axes[0]].to_numpy()}


def _posterior_width(prior: Prior, draws: FloatArray) -> float:
    lower, upper = np.quantile(np.log(draws) if prior.family == "LogNormal" else draws, MIDDLE)
    return float(upper - lower)


def prior_width(prior: Prior, observations: Observations, domain: str) -> float:
    """Return the interquartile range of a prior on a domain; if all domains share the parameter, ``domain`` is empty.

    A shared parameter is in the unit of the first domain, as in the model.
    """
    place = domain or observations.domains[0]
    lower, upper = COMPARED[prior.family](
        *(prior.argument(key, observations.names.role(place)) for key in FAMILIES[prior.family].arguments)
    ).ppf(MIDDLE)
    return float(upper - lower) * (observations.scale(prior.unit, place) if prior.family in IN_UNITS else 1.0)
