"""Draws from the posterior of a PyMC model: nutpie's NUTS with its low-rank mass matrix, in whitened coordinates.

A law's posterior is narrow in some directions by a factor of a thousand against others. So the mode is found first,
the curvature there gives coordinates in which the posterior is near a standard normal, and NUTS starts in them: its
warm-up has little left to learn. JAX compiles the density in seconds, where Numba takes minutes. Where parameters trade
off along a bend, coordinates that straighten it come first (`bayes_cpt.inference.reparameterisation`).
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import arviz as az
import jax
import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from nutpie.compiled_pyfunc import from_pyfunc
from pymc.blocking import DictToArrayBijection, RaveledVars
from scipy.optimize import minimize

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.inference.reparameterisation import Bend, bent, straight, straightened
from bayes_cpt.inference.settings import SamplerSettings

# Evaluations take milliseconds: handing them to another thread costs more than it gains, and chains run in threads
jax.config.update("jax_cpu_enable_async_dispatch", False)

TARGET_ACCEPT = 0.9
"""Higher than usual: replay parameters trade off along a bend that long steps cut."""
COMPILING = Lock()
"""PyTensor compiles and runs its functions for one thread at a time."""
STARTS = 3
"""Points from which the mode is sought."""
CLIMBS = 18
"""Times that the climb to a mode is taken up again in coordinates whitened where it stood."""
CLIMB_STEPS = 100
"""Steps of one climb: fresh coordinates gain more than further steps (300 evaluate twice as often)."""
OVERDISPERSION = 1.5
"""Chains start this many posterior standard deviations around the mode."""


class Density(NamedTuple):
    """A model's log density on a flat unconstrained vector, compiled.

    Parameters
    ----------
    compiled
        From the vector and the data to the value and its gradient.
    data
        The model's data by name, in the order that ``compiled`` takes them; others may be put in their place.
    start
        Where the model starts, and the way from the vector to names.
    bend
        What to straighten before it is sampled, if anything.
    """

    compiled: Callable[..., tuple[Any, Any]]
    data: Mapping[str, FloatArray]
    start: RaveledVars
    bend: Bend | None = None

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Return the log density and its gradient."""
        value, gradient = self.compiled(x, *self.data.values())
        return float(value), np.asarray(gradient, dtype=np.float64)


class Whitening(NamedTuple):
    """Coordinates z in which the posterior is near standard normal: x = centre + scale z."""

    centre: FloatArray
    scale: FloatArray


def sample_posterior(pymc_model: pm.Model, density: Density, settings: SamplerSettings) -> xr.DataTree:
    """Sample a model.

    Returns
    -------
    DataTree
        Groups posterior (constrained parameters and deterministics) and sample_stats.

    Raises
    ------
    KeyboardInterrupt
        If sampling was interrupted; nothing is returned of it.
    DataError
        If no start has a finite density.
    """
    unconstrained, stats = sample_density(density, settings)
    with COMPILING:
        posterior = _constrained(pymc_model, density, unconstrained)
    tree = az.from_dict(
        {"posterior": posterior},
        coords={name: list(labels or ()) for name, labels in pymc_model.coords.items()},
        dims={name: list(dims) for name, dims in pymc_model.named_vars_to_dims.items() if name in posterior},
    )
    tree["sample_stats"] = stats
    return tree


def sample_density(density: Density, settings: SamplerSettings) -> tuple[FloatArray, xr.Dataset]:
    """Sample a log density: nothing is compiled, so it may be done many times over.

    Returns
    -------
    array (chain, draw, size)
        The flat unconstrained vector.
    Dataset
        The sampler's statistics; ``logp`` is the log density, of the coordinates that it moved in.

    Raises
    ------
    KeyboardInterrupt, DataError
        As `sample_posterior`.
    """
    moved = _moved(density)
    whitening = whiten(moved, settings.seed)
    trace = nutpie.sample(
        _whitened(moved, whitening),
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=settings.seed,
        adaptation="low_rank",
        target_accept=TARGET_ACCEPT,
        save_warmup=False,
        progress_bar=settings.progress,
    )
    standard = trace["posterior"]["z"].to_numpy()
    if standard.shape[:2] != (settings.chains, settings.draws) or not np.isfinite(standard).all():
        raise KeyboardInterrupt
    stats = trace["sample_stats"].to_dataset()[["diverging", "n_steps", "depth", "logp", "step_size"]]
    drawn = whitening.centre + standard @ whitening.scale.T
    return (drawn if density.bend is None else bent(drawn, density.bend)), stats


def _moved(density: Density) -> Density:
    """Return a density of straight coordinates."""
    if density.bend is None:
        return density
    start = density.start._replace(data=straight(density.start.data, density.bend))
    return density._replace(compiled=straightened(density.compiled, density.bend), start=start)


def compile_density(model: pm.Model) -> Density:
    """Compile a model's log density."""
    function = model.logp_dlogp_function(ravel_inputs=True, mode="JAX")
    function.set_extra_values({})
    # The compiled function itself, rather than the PyTensor function around it: that one keeps its inputs while it
    # runs, so chains, which are threads, would have to take turns.
    pytensor_function = function._pytensor_function
    data = {str(variable.name): variable.get_value() for variable in pytensor_function.get_shared()}
    return Density(pytensor_function.vm.jit_fn, data, DictToArrayBijection.map(model.initial_point()))


def whiten(density: Density, seed: int) -> Whitening:
    """Find the mode and the curvature there."""
    random = np.random.default_rng(seed)
    first = density.start.data
    starts = [first, *(first + random.uniform(-0.7, 0.7, first.shape) for _ in range(STARTS - 1))]
    found = [_climbed(density, start) for start in starts]
    value, whitening = min(found, key=lambda pair: pair[0])
    if value >= WORST:
        raise DataError("the model has no finite density at any start: check the losses and the priors")
    return whitening


WORST = 1e20
"""Stands for an infinite negative log density, so that the line search steps back from it."""


def _climbed(density: Density, start: FloatArray) -> tuple[float, Whitening]:
    """Climb to a mode, in coordinates that are whitened anew on the way; return the negative log density there."""
    value, whitening = np.inf, Whitening(start, np.eye(start.size))
    for _ in range(CLIMBS):
        before = value
        result = minimize(
            _negative,
            np.zeros_like(start),
            (density, whitening),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": CLIMB_STEPS},
        )
        value, centre = float(result.fun), whitening.centre + whitening.scale @ result.x
        whitening = Whitening(centre, whitening_scale(_precision(density, centre)))
        if before - value < 0.01:
            break
    return value, whitening


def _negative(z: FloatArray, density: Density, whitening: Whitening) -> tuple[float, FloatArray]:
    value, gradient = density.evaluate(whitening.centre + whitening.scale @ z)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        return WORST, np.zeros_like(z)
    return -value, -gradient @ whitening.scale


def whitening_scale(precision: FloatArray) -> FloatArray:
    """Return matrices whose product with their transpose is the inverse of the precision, held to sensible sizes.

    Parameters
    ----------
    precision
        (..., size, size).
    """
    unit, values, vectors = principal_axes(precision)
    return unit[..., :, None] * vectors / np.sqrt(np.maximum(values, 1e-3))[..., None, :]


def principal_axes(precision: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return each coordinate's scale (..., size), and values and vectors of the precision in these scales."""
    unit = 1 / np.sqrt(np.maximum(np.diagonal(precision, axis1=-2, axis2=-1), 0.05))
    values, vectors = np.linalg.eigh(precision * unit[..., :, None] * unit[..., None, :])
    return unit, values, vectors


def _precision(density: Density, x: FloatArray, step: float = 1e-4) -> FloatArray:
    """Return the negative second derivatives of the log density, by central differences of the gradient."""
    moves = step * np.eye(x.size)
    rows = [(density.evaluate(x - move)[1] - density.evaluate(x + move)[1]) / (2 * step) for move in moves]
    matrix = np.nan_to_num(np.array(rows))
    return (matrix + matrix.T) / 2


def _whitened(density: Density, whitening: Whitening) -> Any:
    """Return nutpie's model of the whitened coordinates."""
    size = whitening.centre.size

    def make_logp() -> Callable[..., tuple[float, FloatArray]]:
        def logp(z: FloatArray) -> tuple[float, FloatArray]:
            value, gradient = density.evaluate(whitening.centre + whitening.scale @ z)
            return value, whitening.scale.T @ gradient

        return logp

    def make_expand(*_seeds: int) -> Callable[..., dict[str, FloatArray]]:
        return lambda z: {"z": np.asarray(z)}

    return from_pyfunc(
        ndim=size,
        make_logp_fn=make_logp,
        make_expand_fn=make_expand,
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(size,)],
        expanded_names=["z"],
        make_initial_point_fn=lambda seed: OVERDISPERSION * np.random.default_rng(seed).standard_normal(size),
    )


def _constrained(model: pm.Model, density: Density, draws: FloatArray) -> dict[str, FloatArray]:
    """Return parameters and deterministics, (chain, draw, ...) each, of unconstrained draws."""
    outputs = [*model.free_RVs, *model.deterministics]
    function = model.compile_fn(
        model.replace_rvs_by_values(outputs), inputs=model.value_vars, mode="FAST_COMPILE", point_fn=False
    )
    names = [variable.name for variable in model.value_vars]
    columns: list[list[np.ndarray]] = []
    for flat in draws.reshape(-1, draws.shape[-1]):
        point = DictToArrayBijection.rmap(RaveledVars(flat, density.start.point_map_info))
        columns.append(list(function(*(point[name] for name in names)) or ()))
    stacked = (np.array(values) for values in zip(*columns, strict=True))
    return {
        str(output.name): values.reshape(*draws.shape[:2], *values.shape[1:])
        for output, values in zip(outputs, stacked, strict=True)
    }
