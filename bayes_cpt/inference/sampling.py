"""Draws from the posterior of a model: nutpie's NUTS with its low-rank mass matrix, in whitened coordinates.

A law's posterior is a thousand times narrower in some directions than in others. So the mode is found first. The
curvature there gives coordinates in which the posterior is near a standard normal, and NUTS starts in them, so its
warm-up can be short. If parameters trade off along a bend, it is straightened first
(`bayes_cpt.inference.reparameterisation`).
"""

from collections.abc import Callable
from typing import Any

import arviz as az
import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from nutpie.compiled_pyfunc import from_pyfunc

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError, SamplingError
from bayes_cpt.inference.density import Density, constrained
from bayes_cpt.inference.mode import Whitening, climb
from bayes_cpt.inference.reparameterisation import Bend, bent, straight, straightened
from bayes_cpt.inference.settings import SamplerSettings

TARGET_ACCEPT = 0.9
"""Higher than usual: replay parameters trade off along a curve that long steps would leave."""
STARTS = 3
"""Number of points from which the mode is sought."""
SPREAD = 0.7
"""Largest distance of a start from the model's own, in each coordinate."""
OVERDISPERSION = 1.5
"""Standard deviation of the chains' starts around the mode, in posterior standard deviations."""


def sample_posterior(
    pymc_model: pm.Model, density: Density, settings: SamplerSettings, bend: Bend | None = None
) -> xr.DataTree:
    """Sample a model.

    Parameters
    ----------
    pymc_model
        The model.
    density
        Its log density.
    settings
        Settings of the sampler.
    bend
        The bend to straighten before sampling, if there is one.

    Returns
    -------
    DataTree
        Groups posterior (constrained parameters and deterministics) and sample_stats.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupted; nothing is returned.
    DataError
        If no start has a finite density.
    SamplingError
        If the sampler stopped before it had all draws, or gave draws that are not finite.
    """
    unconstrained, stats = sample_density(density, settings, bend)
    posterior = constrained(pymc_model, unconstrained)
    tree = az.from_dict(
        {"posterior": posterior},
        coords={name: list(labels or ()) for name, labels in pymc_model.coords.items()},
        dims={name: list(dims) for name, dims in pymc_model.named_vars_to_dims.items() if name in posterior},
    )
    tree["sample_stats"] = stats
    return tree


def sample_density(
    density: Density, settings: SamplerSettings, bend: Bend | None = None
) -> tuple[FloatArray, xr.Dataset]:
    """Sample a log density. Nothing is compiled again, so it may be called many times.

    Returns
    -------
    array (chain, draw, size)
        The flat unconstrained vector.
    Dataset
        The sampler's statistics; ``logp`` is the log density in the sampler's coordinates.

    Raises
    ------
    KeyboardInterrupt, DataError, SamplingError
        See `sample_posterior`.
    """
    moved = density if bend is None else _straightened(density, bend)
    whitening = whiten(moved, settings.seed)
    trace = _trace(_whitened(moved, whitening), settings)
    standard = trace["posterior"]["z"].to_numpy()
    if standard.shape[:2] != (settings.chains, settings.draws):
        raise SamplingError(f"the sampler stopped after {standard.shape[1]} of {settings.draws} draws: run it again")
    if not np.isfinite(standard).all():
        raise SamplingError("the sampler gave draws that are not finite: check the losses and the priors")
    stats = trace["sample_stats"].to_dataset()[["diverging", "n_steps", "depth", "logp", "step_size"]]
    drawn = whitening.centre + standard @ whitening.scale.T
    return (drawn if bend is None else bent(drawn, bend)), stats


def _trace(compiled: Any, settings: SamplerSettings) -> xr.DataTree:
    """Run NUTS; if it is interrupted, its chains are stopped and nothing is kept."""
    sampler = nutpie.sample(
        compiled,
        draws=settings.draws,
        tune=settings.tune,
        chains=settings.chains,
        seed=settings.seed,
        adaptation="low_rank",
        target_accept=TARGET_ACCEPT,
        save_warmup=False,
        progress_bar=settings.progress,
        blocking=False,
    )
    try:
        return sampler.wait()
    except BaseException:
        sampler.cancel()
        raise


def _straightened(density: Density, bend: Bend) -> Density:
    """Return a density of straight coordinates."""
    return density._replace(function=straightened(density.function, bend), start=straight(density.start, bend))


def whiten(density: Density, seed: int) -> Whitening:
    """Find the highest mode from several starts, and the curvature there."""
    random = np.random.default_rng(seed)
    moves = random.uniform(-SPREAD, SPREAD, (STARTS - 1, density.start.size))
    values, found = climb(density.one_by_one, np.vstack([density.start, density.start + moves]))
    best = int(values.argmax())
    if not np.isfinite(values[best]):
        raise DataError("the model has no finite density at any start: check the losses and the priors")
    return Whitening(found.centre[best], found.scale[best])


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
