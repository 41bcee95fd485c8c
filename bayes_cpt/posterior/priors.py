"""Priors on the unconstrained scale: families, their log densities in JAX, and draws from them.

A sampler moves on the whole real line, so parameters with bounds are transformed as in PyMC: logs of positive ones,
logits of those between two bounds. `bayes_cpt.posterior.pymc_model` has the same priors in PyMC, and a test compares
the two for every shipped model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln
from jax.scipy.stats import norm
from scipy.special import logit

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.bins import Bins, bending_curves, binned
from bayes_cpt.statistical_model.likelihood import DomainModel, evaluate
from bayes_cpt.statistical_model.model_files import FAMILIES, ModelSpec, Prior
from bayes_cpt.statistical_model.observations import Observations

BIN_DRAWS = 16
"""Draws from the prior for which the law must be near straight within a bin."""

type Arguments = Mapping[str, FloatArray]


class Scale(NamedTuple):
    """A family of priors on the unconstrained scale; its arguments are named as in a model file, (n,) each.

    Parameters
    ----------
    value
        From unconstrained parameters (..., n) to parameters.
    log_density
        The log density of unconstrained parameters (..., n).
    draw
        Unconstrained draws (draws, n).
    """

    value: Callable[[jax.Array, Arguments], jax.Array]
    log_density: Callable[[jax.Array, Arguments], jax.Array]
    draw: Callable[[np.random.Generator, Arguments, int], FloatArray]


def _half_normal(x: jax.Array, given: Arguments) -> jax.Array:
    return jnp.asarray(norm.logpdf(jnp.exp(x), 0, given["sigma"])) + x + np.log(2)


def _logistic(x: jax.Array, alpha: FloatArray | float, beta: FloatArray | float) -> jax.Array:
    """Return the log density of the logit of a Beta variable."""
    return jnp.asarray(alpha * jax.nn.log_sigmoid(x) + beta * jax.nn.log_sigmoid(-x) - betaln(alpha, beta))


def _normals(random: np.random.Generator, given: FloatArray, count: int) -> FloatArray:
    return random.standard_normal((count, len(given)))


SCALES: Mapping[str, Scale] = MappingProxyType(
    {
        "Normal": Scale(
            lambda x, _given: x,
            lambda x, given: norm.logpdf(x, given["mu"], given["sigma"]),
            lambda random, given, count: given["mu"] + given["sigma"] * _normals(random, given["mu"], count),
        ),
        "LogNormal": Scale(
            lambda x, _given: jnp.exp(x),
            lambda x, given: norm.logpdf(x, jnp.log(given["median"]), given["sigma"]),
            lambda random, given, count: (
                np.log(given["median"]) + given["sigma"] * _normals(random, given["sigma"], count)
            ),
        ),
        "HalfNormal": Scale(
            lambda x, _given: jnp.exp(x),
            _half_normal,
            lambda random, given, count: np.log(np.abs(given["sigma"] * _normals(random, given["sigma"], count))),
        ),
        "Beta": Scale(
            lambda x, _given: jax.nn.sigmoid(x),
            lambda x, given: _logistic(x, given["alpha"], given["beta"]),
            lambda random, given, count: logit(
                random.beta(given["alpha"], given["beta"], (count, len(given["alpha"]))).clip(1e-300, 1 - 1e-16)
            ),
        ),
        "Uniform": Scale(
            lambda x, given: jnp.asarray(given["lower"]) + jax.nn.sigmoid(x) * (given["upper"] - given["lower"]),
            lambda x, _given: _logistic(x, 1.0, 1.0),
            lambda random, given, count: logit(random.uniform(size=(count, len(given["lower"])))),
        ),
    }
)
"""The families of `bayes_cpt.statistical_model.model_files.FAMILIES` on the unconstrained scale."""


@dataclass(frozen=True)
class Entry:
    """One entry of a vector of parameters.

    Parameters
    ----------
    name
        The parameter.
    domain
        Its domain or out-of-domain set; empty for a parameter that all domains share.
    family
        Family of its prior.
    arguments
        By name, the prior's arguments in nats, steps or LR x steps.
    """

    name: str
    domain: str
    family: str
    arguments: Mapping[str, float] = field(hash=False)

    @property
    def label(self) -> str:
        """``name[domain]``, as in tables of parameters."""
        return f"{self.name}[{self.domain}]" if self.domain else self.name


def entries(spec: ModelSpec, observations: Observations) -> tuple[Entry, ...]:
    """Return all parameters of a model, in the order of its model file; out-of-domain sets come last."""
    own = [
        _entry(name, prior, observations, domain)
        for name, prior in spec.priors.items()
        for domain in ([""] if name in spec.law.checkpoint_parameters else observations.domains)
    ]
    combined = [
        _entry(name, prior, observations, domain)
        for name, prior in spec.out_of_domain.items()
        for domain in observations.out_of_domain
    ]
    return (*own, *combined)


def in_likelihood(spec: ModelSpec, entry: Entry) -> bool:
    """Return whether the fitted losses depend on a parameter; if not, its posterior is its prior."""
    priors = spec.priors if entry.name in spec.priors else spec.out_of_domain
    return priors[entry.name].in_likelihood


def _entry(name: str, prior: Prior, observations: Observations, domain: str) -> Entry:
    # steps and areas are the same for all domains
    where = domain or observations.domains[0]
    return Entry(
        name,
        domain,
        prior.family,
        prior.in_units(observations.scale(prior.unit, where), observations.names.role(where)),
    )


class Group(NamedTuple):
    """The entries of one family: their places in the vector, and the arguments of their priors."""

    places: tuple[int, ...]
    arguments: Arguments


def grouped(chosen: Sequence[Entry]) -> dict[str, Group]:
    """Group entries by family, so that each family is evaluated once."""
    found = {}
    for family, described in FAMILIES.items():
        places = tuple(place for place, entry in enumerate(chosen) if entry.family == family)
        arguments = {key: np.array([chosen[at].arguments[key] for at in places]) for key in described.arguments}
        if places:
            found[family] = Group(places, arguments)
    return found


def values_of(x: jax.Array, groups: Mapping[str, Group]) -> jax.Array:
    """Return the parameters (..., size) of unconstrained ones."""
    x = jnp.asarray(x)
    for family, group in groups.items():
        at = np.array(group.places)
        x = x.at[..., at].set(SCALES[family].value(x[..., at], group.arguments))
    return x


def parameter_values(chosen: Sequence[Entry], x: FloatArray) -> dict[Entry, FloatArray]:
    """Return the parameters (...) by entry of unconstrained vectors (..., size)."""
    values = np.asarray(values_of(jnp.asarray(x), grouped(chosen)))
    return {entry: values[..., place] for place, entry in enumerate(chosen)}


def of_domain[T](values: Mapping[Entry, T], domain: str) -> dict[str, T]:
    """Return the values that a domain's model reads, by name: its own, and those that all domains share."""
    return {entry.name: value for entry, value in values.items() if entry.domain in {"", domain}}


def log_prior(x: jax.Array, groups: Mapping[str, Group]) -> jax.Array:
    """Return the log density (...) of unconstrained parameters (..., size)."""
    parts = [
        SCALES[family].log_density(x[..., np.array(group.places)], group.arguments) for family, group in groups.items()
    ]
    return jnp.concatenate(parts, axis=-1).sum(axis=-1)


def prior_draws(chosen: Sequence[Entry], count: int, random: np.random.Generator) -> FloatArray:
    """Draw unconstrained parameters (draws, size) from their priors."""
    found = np.empty((count, len(chosen)))
    for family, group in grouped(chosen).items():
        found[:, group.places] = SCALES[family].draw(random, group.arguments, count)
    return found


def uninformed_draws(
    spec: ModelSpec, observations: Observations, shape: tuple[int, ...], random: np.random.Generator
) -> dict[Entry, FloatArray]:
    """Draw the parameters that the fitted losses do not depend on, of a shape each, from their priors."""
    chosen = [entry for entry in entries(spec, observations) if not in_likelihood(spec, entry)]
    return parameter_values(chosen, prior_draws(chosen, int(np.prod(shape)), random).reshape(*shape, -1))


def bins_of(
    spec: ModelSpec, models: Mapping[str, DomainModel], observations: Observations, holdouts: Sequence[Holdout]
) -> dict[str, Bins]:
    """Average the measured losses of each domain where draws from the prior say that the law is near straight."""
    every = entries(spec, observations)
    drawn = parameter_values(every, prior_draws(every, BIN_DRAWS, np.random.default_rng(0)))
    found = {}
    for domain, model in models.items():
        curves = bending_curves(
            evaluate(model, observations.design, of_domain(drawn, domain)), observations.loss_scales[domain]
        )
        found[domain] = binned(
            observations.design, observations.places[domain], observations.losses[domain], curves, holdouts
        )
    return found
