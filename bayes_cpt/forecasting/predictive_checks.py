"""Prior and posterior predictive checks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import Fit
from bayes_cpt.posterior.parameters import parameter_tree
from bayes_cpt.posterior.priors import entries, parameter_values, prior_draws
from bayes_cpt.runs.curves import Curves, measured_steps, select
from bayes_cpt.statistical_model.likelihood import domain_models
from bayes_cpt.statistical_model.model_files import DEFAULT_MODEL, ModelSpec, read_spec
from bayes_cpt.statistical_model.observations import observe


def prior_predictive(
    curves: Curves,
    model: str | Path | ModelSpec = DEFAULT_MODEL,
    *,
    domains: Sequence[str] | None = None,
    draws: int = 100,
    seed: int = 1,
) -> xr.Dataset:
    """Draw loss curves from the prior, to check that they look like loss curves before any fit.

    Parameters
    ----------
    curves, model, domains
        See `bayes_cpt.fit`; measured losses set the scales of the priors.
    draws
        Number of draws.
    seed
        Random seed.

    Returns
    -------
    Dataset
        See `bayes_cpt.forecast`, for the measured runs at their measured steps.

    Raises
    ------
    DataError, SpecError
        If the data or the model file do not fit the law.

    Examples
    --------
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))  # doctest: +SKIP
    >>> bc.plot_prior_predictive(bc.prior_predictive(curves, "cpt-size"))  # doctest: +SKIP
    """
    spec = read_spec(model)
    observations = observe(curves, spec.law, domains)
    models, every = domain_models(spec, observations), entries(spec, observations)
    values = parameter_values(every, prior_draws(every, draws, np.random.default_rng(seed))[None])
    tree = parameter_tree(spec, models, observations, values)
    tree.attrs = {"converged": 1, "verdict": "prior"}
    chosen = select(curves, domains=observations.every_domain)
    prior = Fit(tree, spec, chosen, models)
    return forecast(prior, chosen, steps=measured_steps(chosen), seed=seed)


def predictive_check(fit: Fit, seed: int = 1) -> tuple[Fit, str]:
    """Check a fit on the fitted losses: replicate them, and compare with the data.

    Parameters
    ----------
    fit
        The fit.
    seed
        Random seed.

    Returns
    -------
    Fit
        With the group ``posterior_predictive``, whose variables match those of ``observed_data``.
    str
        Share of the data that the intervals of the replicates cover, in words.

    Examples
    --------
    >>> checked, sentence = bc.predictive_check(fit)  # doctest: +SKIP
    >>> print(sentence)  # doctest: +SKIP
    posterior predictive check on the fitted losses: pt: 50 % intervals cover 62 % of the points, 90 % intervals 93 %
    """
    everything = fit.posterior.sizes["chain"] * fit.posterior.sizes["draw"]
    replicated = forecast(fit, fit.curves, steps=measured_steps(fit.curves), draws=everything, seed=seed)["loss"]
    constant = fit.tree["constant_data"].to_dataset()
    drawn = {
        f"loss_{domain}": replicated.sel(domain=domain)
        .sel(run=constant[f"run_{domain}"], step=constant[f"step_{domain}"])
        .drop_vars(["run", "step", "domain", "replay", "peak", "end_step", "parent", "extrapolates"], errors="ignore")
        for domain in fit.every_domain
    }
    tree = fit.tree.copy()
    tree["posterior_predictive"] = xr.Dataset(drawn)
    checked = Fit(tree, fit.spec, fit.curves, fit.models)
    sentence = "; ".join(
        f"{domain}: 50 % intervals cover {100 * half:.0f} % of the points, 90 % intervals {100 * most:.0f} %"
        for domain, (half, most) in coverage_of_fitted(checked).items()
    )
    return checked, f"posterior predictive check on the fitted losses: {sentence}"


def coverage_of_fitted(checked: Fit) -> dict[str, tuple[float, float]]:
    """Return, by domain, the shares of the fitted losses that 50 % and 90 % intervals of their replicates cover.

    Parameters
    ----------
    checked
        A fit from `predictive_check`; of another one nothing is known, and the result is empty.
    """
    if "posterior_predictive" not in checked.tree:
        return {}
    replicated, observed = (checked.tree[name].to_dataset() for name in ("posterior_predictive", "observed_data"))
    names = {domain: f"loss_{domain}" for domain in checked.every_domain}
    return {domain: _coverage(replicated[name], observed[name]) for domain, name in names.items()}


def _coverage(draws: xr.DataArray, observed: xr.DataArray) -> tuple[float, float]:
    """Return the shares of observed values that the central 50 % and 90 % intervals of the draws cover."""
    rank = (draws < observed).mean(("chain", "draw"))
    return float((abs(rank - 0.5) <= 0.25).mean()), float((abs(rank - 0.5) <= 0.45).mean())
