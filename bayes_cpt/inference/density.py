"""A model's log density as a JAX function of one flat vector. All use of PyMC's and PyTensor's internals is here.

PyMC defines the model. Its log density, gradient and constrained parameters become JAX functions by documented
functions: `pymc.pytensorf.join_nonshared_inputs`, `pytensor.graph.replace.clone_replace` and
`pymc.sampling.jax.get_jaxified_graph`. JAX compiles them in seconds, where Numba takes minutes, and evaluates many
vectors in one call.

JAX is configured only here, when the first density is compiled: evaluations run in the calling thread
(``jax_cpu_enable_async_dispatch`` off). They take milliseconds, each chain has its own thread, and passing them to
another thread costs more than it saves. PyTensor switches on double precision.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
import pymc as pm
from pymc.pytensorf import join_nonshared_inputs
from pymc.sampling.jax import get_jaxified_graph
from pytensor.gradient import grad
from pytensor.graph.replace import clone_replace

from bayes_cpt._support.typing import FloatArray, IntArray

type Function = Callable[..., tuple[Any, Any]]
"""From a vector (size,) and the model's data to the log density and its gradient (size,); JAX can trace it."""
type Densities = Callable[[FloatArray], tuple[FloatArray, FloatArray]]
"""From vectors (members, size) to log densities (members,) and their gradients (members, size)."""


class Density(NamedTuple):
    """A model's log density on a flat unconstrained vector.

    Parameters
    ----------
    function
        From the vector and the data to the value and its gradient.
    data
        The model's data by name, in the order of the arguments of ``function``; their values may be replaced.
    start
        (size,) The model's initial point.
    places
        By unconstrained variable, its indices in the vector.
    """

    function: Function
    data: Mapping[str, FloatArray]
    start: FloatArray
    places: Mapping[str, IntArray]

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return the log density of a vector and its gradient."""
        value, gradient = _compiled(self.function)(x, *self.data.values())
        return float(value), np.asarray(gradient, dtype=np.float64)

    def one_by_one(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the log densities of vectors (members, size) and their gradients, evaluated one after the other."""
        values, gradients = zip(*map(self.evaluate, x), strict=True)
        return _finite(np.array(values), np.array(gradients))


def density_of(pymc_model: pm.Model) -> Density:
    """Return a model's log density; it is compiled when it is first evaluated."""
    _configure()
    start, variables, places = _layout(pymc_model)
    data = {str(variable.name): variable for variable in pymc_model.data_vars}
    inputs = [variable.type(name) for name, variable in data.items()]
    log_density: Any = pymc_model.logp()
    [value], vector = join_nonshared_inputs(pymc_model.initial_point(), [log_density], variables)
    with_gradient: list[Any] = [value, grad(value, vector)]
    outputs: Any = clone_replace(with_gradient, dict(zip(data.values(), inputs, strict=True)))
    function: Any = get_jaxified_graph([vector, *inputs], outputs)
    return Density(function, {name: variable.get_value() for name, variable in data.items()}, start, places)


def _layout(pymc_model: pm.Model) -> tuple[FloatArray, list[Any], dict[str, IntArray]]:
    """Return the initial point as a vector, the unconstrained variables in its order, and their indices in it."""
    point = pymc_model.initial_point()
    ends = np.cumsum([0, *(value.size for value in point.values())])
    places = {name: np.arange(a, b) for name, a, b in zip(point, ends[:-1], ends[1:], strict=True)}
    by_name = {variable.name: variable for variable in pymc_model.value_vars}
    start = np.concatenate([np.ravel(value) for value in point.values()])
    return start, [by_name[name] for name in point], places


def constrained(pymc_model: pm.Model, vectors: FloatArray) -> dict[str, FloatArray]:
    """Return parameters and deterministics, (chain, draw, ...) each, of unconstrained vectors (chain, draw, size)."""
    _start, variables, _places = _layout(pymc_model)
    named = [*pymc_model.free_RVs, *pymc_model.deterministics]
    outputs, vector = join_nonshared_inputs(
        pymc_model.initial_point(), pymc_model.replace_rvs_by_values(named), variables
    )
    function = jax.jit(jax.vmap(traced([vector], outputs)))
    flat = function(vectors.reshape(-1, vectors.shape[-1]))
    return {
        str(variable.name): np.asarray(values).reshape(*vectors.shape[:2], *values.shape[1:])
        for variable, values in zip(named, flat, strict=True)
    }


def traced(inputs: Sequence[Any], outputs: Sequence[Any]) -> Callable[..., Sequence[Any]]:
    """Return PyTensor expressions as a function that JAX can trace."""
    function: Any = get_jaxified_graph(list(inputs), list(outputs))
    return function


def side_by_side(density: Density, data: Mapping[str, FloatArray]) -> Densities:
    """Return the density of many vectors, evaluated in one call; where it is not finite, minus infinity.

    Parameters
    ----------
    density
        The density.
    data
        By name, (members, ...): data that differ between members. All other data are common to all.
    """
    together = _together(density.function, tuple(0 if name in data else None for name in density.data))
    arguments = [data.get(name, values) for name, values in density.data.items()]

    def evaluate(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        return _finite(*(np.asarray(found, dtype=np.float64) for found in together(x, *arguments)))

    return evaluate


def _finite(value: FloatArray, gradient: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return minus infinity, with gradient 0, where a density or its gradient is not finite."""
    finite = np.isfinite(value) & np.isfinite(gradient).all(axis=-1)
    return np.where(finite, value, -np.inf), np.where(finite[:, None], gradient, 0.0)


# cached, so that refits and further members do not compile again
@lru_cache(maxsize=8)
def _compiled(function: Function) -> Function:
    return jax.jit(function)


@lru_cache(maxsize=4)
def _together(function: Function, own: tuple[int | None, ...]) -> Function:
    return jax.jit(jax.vmap(function, in_axes=(0, *own)))


@cache
def _configure() -> None:
    """Configure JAX, once."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
