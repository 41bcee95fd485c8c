"""Log densities of a model's parameters as JAX functions of one flat vector.

Parameters of different domains are independent a posteriori, unless an open checkpoint joins them: no term of the
density has parameters of both. So a model is cut into blocks, each with a density of its own, which are compiled and
sampled apart. The law and the discrepancy are the same functions of arrays as in forecasts, traced by JAX
(`bayes_cpt.posterior.traced_arrays`), so that no graph is built twice. `bayes_cpt.posterior.pymc_model` is the same
model in PyMC, and a test compares the two for every shipped model.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr  # pyright: ignore[reportAttributeAccessIssue] - as documented

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.laws.features import factored
from bayes_cpt.posterior.priors import (
    Entry,
    Group,
    entries,
    grouped,
    in_likelihood,
    log_prior,
    of_domain,
    parameter_values,
    prior_draws,
    values_of,
)
from bayes_cpt.posterior.traced_arrays import traced, unwrapped
from bayes_cpt.statistical_model.bins import Bins
from bayes_cpt.statistical_model.likelihood import DomainModel, effect_columns, evaluate
from bayes_cpt.statistical_model.low_rank_gaussian import value_and_gradient
from bayes_cpt.statistical_model.model_files import ModelSpec
from bayes_cpt.statistical_model.observations import Observations
from bayes_cpt.statistical_model.out_of_domain import SCALE, Changes, combination, departure_columns, variance

TOGETHER = 32_000
"""Number of points, over all vectors, that are evaluated in one call: arrays of more do not fit into the cache."""
ROWS = (16, 128)
"""Smallest and largest number of vectors evaluated in one call."""
ROWS_PER_MEMBER = 16
"""Number of vectors of each member evaluated in one call, where each member has losses of its own."""

COMPILED = 16
"""Number of compiled functions of each kind that a process keeps."""

type Data = Mapping[str, Any]
type LogDensity = Callable[[jax.Array, Data], jax.Array]
"""From a vector (size,) and the data to the log density; JAX can trace it."""
type Likelihood = Callable[[Mapping[str, jax.Array], Data], jax.Array]
"""From a domain's parameters by name and its data to the log likelihood."""


class Densities(Protocol):
    """Log densities of many vectors, evaluated together; minus infinity, with gradient 0, where they are not finite."""

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities (...) of vectors (..., size), and their gradients (..., size)."""
        ...

    def values(self, x: FloatArray) -> FloatArray:
        """Return the log densities (...) alone, at half the cost or less."""
        ...


@dataclass(frozen=True, eq=False)
class Density:
    """The log density of a block of parameters.

    Parameters
    ----------
    function
        The log density as a function of a vector and the data.
    data
        The data by name; their values may be replaced, and nothing is compiled again.
    entries
        The entries of the vector.
    """

    function: LogDensity
    data: Data
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Length of the vector."""
        return len(self.entries)

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities (...) of vectors (..., size), and their gradients; see `Densities`."""
        value, gradient = self._in_calls(_gradients(self.function), x)
        return finite(value.reshape(x.shape[:-1]), gradient.reshape(x.shape))

    def values(self, x: FloatArray) -> FloatArray:
        """Return the log densities (...) of vectors (..., size); see `Densities`."""
        [value] = self._in_calls(_values(self.function), x)
        return _finite_values(value.reshape(x.shape[:-1]))

    def _in_calls(self, function: Callable[..., Sequence[jax.Array]], x: FloatArray) -> list[FloatArray]:
        """Return what a compiled function returns of vectors, called with the same number of them each time."""
        flat = x.reshape(-1, x.shape[-1])
        count = self._rows
        rows = np.concatenate([flat, np.zeros((-len(flat) % count, flat.shape[1]))]).reshape(-1, count, flat.shape[1])
        parts = [function(each, self._data) for each in rows]
        return [np.concatenate(part)[: len(flat)] for part in zip(*parts, strict=True)]

    @cached_property
    def _data(self) -> Data:
        """The data as JAX arrays: to convert them at each call takes as long as the call."""
        return jax.device_put(dict(self.data))

    @cached_property
    def _rows(self) -> int:
        """Number of vectors evaluated in one call."""
        points = sum(len(data["count"]) for data in self.data["losses"].values())
        return int(np.clip(2 ** int(np.log2(TOGETHER / points)), *ROWS))

    def alone(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return the log density of one vector and its gradient."""
        value, gradient = _single(self.function)(x, self._data)
        return float(value), np.asarray(gradient, dtype=np.float64)

    def prior_draws(self, count: int, random: np.random.Generator) -> FloatArray:
        """Draw vectors (draws, size) from the prior."""
        return prior_draws(self.entries, count, random)

    def parameters(self, x: FloatArray) -> dict[Entry, FloatArray]:
        """Return the parameters (...) by entry of vectors (..., size)."""
        return parameter_values(self.entries, x)


@dataclass(frozen=True, eq=False)
class SideBySide:
    """The log densities of members that have losses of their own; `side_by_side` returns one.

    Parameters
    ----------
    gradients, alone
        Compiled functions of vectors (members, n, size) and the data: the log densities with and without gradients.
    data
        The data of groups of members, of one size each; some losses in them have a leading dimension of members.
    together
        Number of members in a group.
    """

    gradients: Callable[..., Sequence[jax.Array]]
    alone: Callable[..., Sequence[jax.Array]]
    data: Sequence[Data]
    together: int

    def at(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities (members, ...) of vectors (members, ..., size), and their gradients."""
        value, gradient = self._in_calls(self.gradients, x)
        return finite(value.reshape(x.shape[:-1]), gradient.reshape(x.shape))

    def values(self, x: FloatArray) -> FloatArray:
        """Return the log densities (members, ...) of vectors (members, ..., size)."""
        [value] = self._in_calls(self.alone, x)
        return _finite_values(value.reshape(x.shape[:-1]))

    def _in_calls(self, function: Callable[..., Sequence[jax.Array]], x: FloatArray) -> list[FloatArray]:
        """Return what a compiled function returns of vectors, called with as many members and vectors each time."""
        flat = x.reshape(len(x), -1, x.shape[-1])
        members, count = flat.shape[:2]
        rows = np.pad(flat, ((0, -members % self.together), (0, -count % ROWS_PER_MEMBER), (0, 0)))
        # (groups, calls, members of a group, vectors of a call, size)
        cut = rows.reshape(len(self.data), self.together, -1, ROWS_PER_MEMBER, rows.shape[-1]).swapaxes(1, 2)

        def of_group(group: int) -> list[FloatArray]:
            calls = [function(each, self.data[group]) for each in cut[group]]
            return [np.concatenate(part, axis=1) for part in zip(*calls, strict=True)]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            groups = list(pool.map(of_group, range(len(self.data))))
        return [np.concatenate(part)[:members, :count] for part in zip(*groups, strict=True)]


def _finite_values(value: FloatArray) -> FloatArray:
    return np.where(np.isfinite(value), value, -np.inf)


def finite(value: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return minus infinity, with gradient 0, where a density or its gradient is not finite."""
    sound = np.isfinite(value) & np.isfinite(gradient).all(axis=-1)
    return np.where(sound, value, -np.inf), np.where(sound[..., None], gradient, 0.0)


def blocks(
    spec: ModelSpec, models: Mapping[str, DomainModel], observations: Observations, bins: Mapping[str, Bins]
) -> list[Density]:
    """Return the densities of a model's independent blocks of parameters, of those that its likelihood depends on.

    Parameters
    ----------
    spec
        The model.
    models
        By domain, the parts of its model that are not sampled.
    observations
        The measured losses, and the units of the priors.
    bins
        By domain, the losses in bins.
    """
    likelihoods = {
        domain: _of_domain(model._replace(components=spec.fitted_components), bins[domain])
        for domain, model in models.items()
    }
    rate = observations.design.features["relative_learning_rate"]
    scaled = SCALE in spec.out_of_domain and spec.out_of_domain[SCALE].in_likelihood
    likelihoods |= {
        domain: _of_changes(found, rate[found.places], with_departures=scaled)
        for domain, found in observations.out_of_domain.items()
    }
    every = [entry for entry in entries(spec, observations) if in_likelihood(spec, entry)]
    joined = any(not entry.domain for entry in every)
    of_law = tuple(models)
    groups = [of_law] if joined else [(domain,) for domain in of_law]
    groups += [(domain,) for domain in observations.out_of_domain]
    return [
        _block(
            tuple(entry for entry in every if entry.domain in {"", *group}), {name: likelihoods[name] for name in group}
        )
        for group in groups
    ]


def replaced(density: Density, losses: Mapping[str, Mapping[str, FloatArray]]) -> Density:
    """Return a density of other losses: by domain, some of the data of its likelihood."""
    own = {domain: {**data, **losses.get(domain, {})} for domain, data in density.data["losses"].items()}
    return replace(density, data={**density.data, "losses": own})


def side_by_side(density: Density, losses: Mapping[str, Mapping[str, FloatArray]]) -> SideBySide:
    """Return the density of vectors (members, n, size) of which each member has its own losses.

    Parameters
    ----------
    density
        The density.
    losses
        By domain and name, (members, points): data of the likelihoods that differ between members.
    """
    own = {domain: losses[domain] for domain in density.data["losses"] if domain in losses}
    axes: dict[str, Any] = jax.tree.map(lambda _values: None, dict(density.data))
    axes["losses"] = {
        domain: {name: 0 if name in own.get(domain, {}) else None for name in data}
        for domain, data in density.data["losses"].items()
    }
    leaves, structure = jax.tree.flatten(axes, is_leaf=lambda leaf: leaf is None)
    members = len(next(values for of_domain in own.values() for values in of_domain.values()))
    points = sum(len(data["count"]) for data in density.data["losses"].values())
    together = int(np.clip(TOGETHER // (points * ROWS_PER_MEMBER), 1, members))
    # the last group is filled up with the first members
    groups = [np.arange(first, first + together) % members for first in range(0, members, together)]
    data = [
        jax.device_put(dict(replaced(density, jax.tree.map(lambda values, group=group: values[group], own)).data))
        for group in groups
    ]
    return SideBySide(*_members(density.function, tuple(leaves), structure), data, together)


def _block(chosen: tuple[Entry, ...], likelihoods: Mapping[str, tuple[Likelihood, Data]]) -> Density:
    groups = grouped(chosen)
    place = {entry: at for at, entry in enumerate(chosen)}
    places = {domain: of_domain(place, domain) for domain in likelihoods}
    losses = {domain: data for domain, (_, data) in likelihoods.items()}
    data: dict[str, Any] = {"priors": {name: dict(group.arguments) for name, group in groups.items()}, "losses": losses}
    shape = jax.ShapeDtypeStruct((), float)
    traces = {
        domain: jax.make_jaxpr(function)(dict.fromkeys(places[domain], shape), losses[domain])
        for domain, (function, _) in likelihoods.items()
    }
    # constants of a trace, such as features, become data: compiled functions do not depend on them
    data["constants"] = {domain: [np.asarray(value) for value in trace.consts] for domain, trace in traces.items()}

    def log_density(x: jax.Array, data: Data) -> jax.Array:
        given = {name: Group(group.places, data["priors"][name]) for name, group in groups.items()}
        values = values_of(x, given)
        total = log_prior(x, given)
        for domain, trace in traces.items():
            own = {name: values[at] for name, at in places[domain].items()}
            inputs = jax.tree.leaves((own, data["losses"][domain]))
            [found] = eval_jaxpr(trace.jaxpr, data["constants"][domain], *inputs)
            total = total + found
        return total

    return Density(log_density, data, chosen)


def _of_domain(model: DomainModel, bins: Bins) -> tuple[Likelihood, Data]:
    """Return the log likelihood of a domain's losses, with the effects of the discrepancy integrated out."""
    design = factored(bins.design)

    def likelihood(parameters: Mapping[str, jax.Array], data: Data) -> jax.Array:
        evaluation = evaluate(model, design, traced(parameters))
        columns = {name: unwrapped(values) for name, values in effect_columns(model, evaluation).items()}
        parts = [parameters[f"{name}_scale"] * values for name, values in columns.items()]
        scaled = jnp.concatenate(parts) if parts else jnp.zeros((0, len(bins.count)))
        law, noise = (
            jnp.broadcast_to(unwrapped(part), bins.count.shape) for part in (evaluation.law, evaluation.noise_variance)
        )
        return log_likelihood(law, noise, scaled, data)

    return likelihood, bins.data


def _of_changes(found: Changes, rate: FloatArray, *, with_departures: bool) -> tuple[Likelihood, Data]:
    """Return the log likelihood of an out-of-domain set's losses, given the measured ones of pt and cpt."""
    columns = departure_columns(found)

    def likelihood(parameters: Mapping[str, jax.Array], data: Data) -> jax.Array:
        given = traced(parameters)
        scaled = parameters[SCALE] * columns if with_departures else jnp.zeros((0, len(rate)))
        return log_likelihood(
            unwrapped(combination(given, found.basis)), unwrapped(variance(given, rate)), scaled, data
        )

    nothing = np.zeros(len(rate))
    return likelihood, {
        "count": np.ones(len(rate)), "loss": found.loss - found.level, "scatter": nothing, "freedom": nothing
    }  # fmt: skip


def log_likelihood(law: jax.Array, noise: jax.Array, columns: jax.Array, data: Data) -> jax.Array:
    """Return the log density of mean losses that are Normal(law, diag(noise / count) + columns^T columns).

    Parameters
    ----------
    law, noise
        (n,) The law's prediction, and the variance of one loss.
    columns
        (k, n) One row per effect, scaled by its standard deviation.
    data
        count, loss, scatter, freedom, (n,) each: see `bayes_cpt.statistical_model.bins.Bins`.
    """
    count = data["count"]
    value = _low_rank(data["loss"] - law, count / noise, columns)
    measured = (count > 0) * jnp.log(2 * jnp.pi * noise / jnp.maximum(count, 1.0))
    within = data["freedom"] * jnp.log(2 * jnp.pi * noise) + data["scatter"] / noise
    return value - 0.5 * (measured + within).sum()


@jax.custom_vjp
def _low_rank(residual: jax.Array, weight: jax.Array, columns: jax.Array) -> jax.Array:
    """Return the first output of `value_and_gradient`, whose gradient is the others."""
    return value_and_gradient(residual, weight, columns, jnp)[0]


def _forward(residual: jax.Array, weight: jax.Array, columns: jax.Array) -> tuple[jax.Array, Sequence[jax.Array]]:
    value, *gradients = value_and_gradient(residual, weight, columns, jnp)
    return value, gradients


_low_rank.defvjp(_forward, lambda gradients, of_value: tuple(of_value * each for each in gradients))


def _gradient_of(function: LogDensity) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.value_and_grad(function)


def _value_of(function: LogDensity) -> Callable[..., tuple[jax.Array]]:
    return lambda x, data: (function(x, data),)


# cached by function, so that refits and further members do not compile again; bounded, since functions take memory
@lru_cache(maxsize=COMPILED)
def _gradients(function: LogDensity) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.jit(jax.vmap(_gradient_of(function), in_axes=(0, None)))


@lru_cache(maxsize=COMPILED)
def _values(function: LogDensity) -> Callable[..., tuple[jax.Array]]:
    return jax.jit(jax.vmap(_value_of(function), in_axes=(0, None)))


@lru_cache(maxsize=COMPILED)
def _single(function: LogDensity) -> Callable[..., tuple[jax.Array, jax.Array]]:
    return jax.jit(_gradient_of(function))


@lru_cache(maxsize=COMPILED)
def _members(
    function: LogDensity, axes: tuple[int | None, ...], structure: Any
) -> tuple[Callable[..., Sequence[jax.Array]], Callable[..., Sequence[jax.Array]]]:
    """Return functions of (members, n) vectors, with and without gradients, and data of which some have members too."""
    own = jax.tree.unflatten(structure, axes)

    def of_members(single: Callable[..., Any]) -> Callable[..., Sequence[jax.Array]]:
        return jax.jit(jax.vmap(jax.vmap(single, in_axes=(0, None)), in_axes=(0, own)))

    return of_members(_gradient_of(function)), of_members(_value_of(function))
