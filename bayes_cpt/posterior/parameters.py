"""Draws of parameters as ArviZ keeps them: by name, with named dimensions; the law's own coefficients too."""

from collections.abc import Mapping

import arviz as az
import numpy as np
import xarray as xr

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.posterior.priors import Entry
from bayes_cpt.statistical_model.likelihood import DomainModel, coefficients
from bayes_cpt.statistical_model.model_files import ModelSpec
from bayes_cpt.statistical_model.observations import Observations


def parameter_tree(
    spec: ModelSpec, models: Mapping[str, DomainModel], observations: Observations, values: Mapping[Entry, FloatArray]
) -> xr.DataTree:
    """Return draws as the group posterior.

    Parameters
    ----------
    spec, models, observations
        The model, the parts by domain that are not sampled, and the units of priors.
    values
        Draws (chain, draw) of each entry of the vectors that were sampled.

    Returns
    -------
    DataTree
        Parameters have the dimension ``domain``, or ``out_of_domain`` for those of out-of-domain sets; those of the
        checkpoint have none. The law's own coefficients follow.
    """
    found: dict[str, dict[str, FloatArray]] = {}
    for name in (*spec.priors, *spec.out_of_domain):
        by_domain = {entry.domain: drawn for entry, drawn in values.items() if entry.name == name}
        found |= {name: by_domain} if by_domain else {}
    shape = next(iter(values.values())).shape
    for domain, model in models.items():
        own = {name: by.get(domain, by.get("")) for name, by in found.items() if {"", domain} & set(by)}
        for name, drawn in coefficients(model, {key: value for key, value in own.items() if value is not None}).items():
            if name not in spec.priors:
                found.setdefault(name, {})[domain] = np.broadcast_to(drawn, shape)
    coords = {"domain": list(observations.domains), "out_of_domain": list(observations.out_of_domain)}
    dims = {
        name: next(([key] for key, names in coords.items() if set(by) <= set(names)), []) for name, by in found.items()
    }
    posterior = {
        name: np.stack([by[domain] for domain in coords[dims[name][0]]], axis=-1) if dims[name] else by[""]
        for name, by in found.items()
    }
    given = {key: names for key, names in coords.items() if names}
    return az.from_dict({"posterior": posterior}, coords=given, dims=dims)
