"""Forecasts: posterior predictive loss curves of planned runs, as labelled draws."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.errors import DataError, quoted
from bayes_cpt.forecasting.run_correlation import keyed_draws, new_effects
from bayes_cpt.forecasting.trajectories import batch, effects_on, past, paths
from bayes_cpt.inference.average import Average
from bayes_cpt.inference.fit import Fit, with_draws
from bayes_cpt.planning.plans import Plan, resolve
from bayes_cpt.plausibility.findings import sentences
from bayes_cpt.runs.curves import Curves, family
from bayes_cpt.runs.identifiability import beyond_data
from bayes_cpt.statistical_model.effect_draws import parameters_of
from bayes_cpt.statistical_model.observations import check_runs
from bayes_cpt.statistical_model.out_of_domain import (
    COEFFICIENTS,
    DEPARTURES,
    SCALE,
    Combination,
    combination,
    departed,
    joint_measurements,
    start_of,
    variance,
)

type Part = Literal["parameters", "discrepancy", "noise"]

EVERYTHING: tuple[Part, ...] = get_args(Part.__value__)
STRETCH = "stretch"
"""Draws of a factor of the width of forecasts, by domain, in a fit that learnt it from left-out runs."""
POINTS_AT_A_TIME = 1_000
"""Number of points of planned runs in a batch."""
RUNS_AT_A_TIME = 1_000
"""Number of runs of which the ends are forecast at once; they are of similar length, so that few steps are empty."""


class Curve(NamedTuple):
    """Draws of one planned run: ``loss`` (draws, domains, steps) and ``transfer_loss`` (draws, domains)."""

    run: str
    steps: IntArray
    loss: FloatArray
    transfer_loss: FloatArray


def forecast(
    fit: Fit | Average,
    plan: Plan | Curves,
    *,
    steps: Mapping[str, Sequence[int]] | None = None,
    every: int | None = None,
    include: Sequence[Part] = EVERYTHING,
    draws: int = 800,
    seed: int = 1,
) -> xr.Dataset:
    """Forecast planned runs.

    Parameters
    ----------
    fit
        A fit, whose runs may be parents of planned runs; or an average, each model of which gives a number of draws in
        proportion to its weight.
    plan
        Planned runs. A run with the name of a fitted run is a continuation of it; its forecast is conditional on its
        measured losses.
    steps
        By run, the steps to forecast. Runs not listed are not forecast.
    every
        Without ``steps``: forecast every so many steps, and the last step. By default about 50 points per run.
    include
        Sources of uncertainty to include. Without ``parameters``, all draws have the posterior mean of the parameters.
        The law and the discrepancy of fitted runs are anticorrelated, so intervals of the loss can be wider without the
        discrepancy; those of its change since the checkpoint are not.
    draws
        Maximum number of posterior draws, evenly spaced; for an average, the total, as one chain.
    seed
        Random seed. Draws of a run's discrepancy and noise depend only on the seed and the run's name, not on the rest
        of the plan.

    Returns
    -------
    Dataset
        ``loss`` (chain, draw, run, domain, step), nats per token: draws of a measured validation loss; NaN after the
        end of a run and, for out-of-domain sets, in pre-training. ``transfer_loss`` (chain, draw, run, domain): the
        loss at the transfer point, without noise. ``learning_rate`` (run, step). Coordinates of ``run``: replay, peak,
        end_step, batch_tokens, model_size, parent, and ``extrapolates``, the settings in which a run is outside the
        range of the measured runs (empty if none). Coordinate of ``domain``: ``recalibrated``, the factor of the width
        that left-out runs taught (`bayes_cpt.learn_scales`), 1 if none. Attribute ``findings``: what is hardly right in
        the fitted data, one sentence per line.

    Raises
    ------
    DataError, CurvesError
        If the plan does not fit the data.

    Examples
    --------
    >>> fit = bc.load("fit.nc")  # doctest: +SKIP
    >>> plan = bc.plan(parent="pt_m_wsd000", replay=[0, 0.25], schedule=bc.wsd(peak=2e-3, steps=3000))  # doctest: +SKIP
    >>> bc.table(bc.forecast(fit, plan, every=500))  # doctest: +SKIP
    """
    planned = plan if isinstance(plan, Curves) else resolve(plan, fit.curves)
    _check_parts(include)
    wanted = _wanted(planned, steps, every)
    parts = [_thinned(fit, draws)] if isinstance(fit, Fit) else _shares(fit, draws)
    for part in parts:
        check_runs(family(planned, part.curves), part.spec.law)
    drawn = [_dataset(part, planned, _curves(part, planned, wanted, include, seed)) for part in parts]
    if isinstance(fit, Fit):
        return drawn[0]
    together = xr.concat(drawn, "draw", data_vars="minimal", coords="minimal", compat="override", join="override")
    warning = "" if fit.converged else fit.verdict
    factor = np.average([one["recalibrated"] for one in drawn], axis=0, weights=[one.sizes["draw"] for one in drawn])
    coords = {"draw": np.arange(together.sizes["draw"]), "recalibrated": ("domain", factor)}
    return together.assign_coords(coords).assign_attrs(warning=warning)


def forecast_ends(fit: Fit | Average, plan: Plan | Curves, *, draws: int = 800, seed: int = 1) -> xr.Dataset:
    """Forecast the last losses of planned runs alone: in less time and memory, for many candidates of a decision.

    Parameters
    ----------
    fit, plan, draws, seed
        See `forecast`.

    Returns
    -------
    Dataset
        That of `forecast`, in single precision and without the dimension step: ``loss`` and ``transfer_loss`` (chain,
        draw, run, domain), at the end of each run.

    Raises
    ------
    DataError, CurvesError
        If the plan does not fit the data.

    Examples
    --------
    >>> bc.decide(bc.forecast_ends(fit, plan), {"pt": 0.5, "cpt": 0.5})  # doctest: +SKIP
    """
    planned = plan if isinstance(plan, Curves) else resolve(plan, fit.curves)
    ends = {str(run): planned.end_step(str(run)) for run in planned.runs.index}
    by_end = sorted(ends, key=ends.__getitem__)
    found: list[xr.Dataset] = []
    for first in range(0, len(by_end), RUNS_AT_A_TIME):
        some = by_end[first : first + RUNS_AT_A_TIME]
        part = forecast(fit, planned, steps={run: [ends[run]] for run in some}, draws=draws, seed=seed)
        last = part[["loss"]].sel(step=part["end_step"]).drop_vars("step")
        found.append(last.merge(part[["transfer_loss"]]).astype(np.float32).assign_attrs(part.attrs))
    return xr.concat(found, "run", combine_attrs="override").sel(run=list(ends))


def _shares(average: Average, draws: int) -> list[Fit]:
    """Return the fits of an average, each with draws in proportion to its weight, as one chain."""
    available = [fit.posterior.sizes["chain"] * fit.posterior.sizes["draw"] for fit in average.fits]
    most = min(have / weight for have, weight in zip(available, average.weights, strict=True) if weight > 0)
    # cumulative weights are rounded, so that the counts add up
    ends = np.round(np.cumsum((0.0, *average.weights)) * min(draws, int(most))).astype(int)
    counts = np.minimum(np.diff(ends), available)
    return [_evenly(fit, int(count)) for fit, count in zip(average.fits, counts, strict=True) if count]


def _evenly(fit: Fit, count: int) -> Fit:
    """Return a fit with a number of its draws, evenly spaced, as one chain."""
    every = fit.posterior.sizes["chain"] * fit.posterior.sizes["draw"]
    return with_draws(fit, np.arange(count) * every // count)


def _thinned(fit: Fit, draws: int) -> Fit:
    posterior = fit.posterior
    stride = max(1, round(posterior.sizes["chain"] * posterior.sizes["draw"] / draws))
    tree = fit.tree.copy()
    tree["posterior"] = posterior.isel(draw=slice(None, None, stride))
    return replace(fit, tree=tree)


def _check_parts(include: Sequence[Part]) -> None:
    unknown = [part for part in ([include] if isinstance(include, str) else include) if part not in EVERYTHING]
    if unknown or isinstance(include, str):
        raise DataError(f"include must be a list of {', '.join(EVERYTHING)}, not {unknown or include!r}")


def _wanted(planned: Curves, steps: Mapping[str, Sequence[int]] | None, every: int | None) -> dict[str, IntArray]:
    ends = {str(run): planned.end_step(str(run)) for run in planned.runs.index}
    if steps is None:
        return {run: _grid(end, every) for run, end in ends.items()}
    if not steps:
        raise DataError("no run to forecast: give the steps of at least one run of the plan")
    for run, asked in steps.items():
        if run not in ends:
            raise DataError(
                f"steps are given for run {run!r}, which is not in the plan; its runs are {', '.join(ends)}"
            )
        if not len(asked) or not np.issubdtype(np.asarray(asked).dtype, np.integer):
            raise DataError(f"the steps of run {run!r} must be a list of at least one integer, not {list(asked)}")
        if min(asked) < 0 or max(asked) > ends[run]:
            raise DataError(f"run {run!r} can be forecast at steps 0 to {ends[run]}, not {min(asked)} to {max(asked)}")
    return {run: np.unique(np.asarray(asked, dtype=np.int64)) for run, asked in steps.items()}


def _grid(end: int, every: int | None) -> IntArray:
    if every is not None and every < 1:
        raise DataError(f"a forecast every {every} steps is not possible; give 1 or more")
    return np.unique(np.append(np.arange(0, end, every or max(1, end // 50)), end))


def _curves(
    fit: Fit, planned: Curves, wanted: Mapping[str, IntArray], include: Sequence[Part], seed: int
) -> list[Curve]:
    known = past(fit, planned)
    levels = known.checkpoints if "discrepancy" in include else {}
    parameters = {domain: parameters_of(fit.posterior, domain) for domain in fit.domains}
    if "parameters" not in include:
        parameters = {domain: _averaged(values) for domain, values in parameters.items()}
    combined = _combinations(fit, include)
    width = np.stack([own.get(STRETCH, np.ones(1)) for own in parameters.values()], axis=1)
    # by role, so that a forecast does not depend on what domains are called
    roles = {domain: model.role for domain, model in fit.models.items()}
    fresh = {domain: new_effects(known.curves, own, seed, roles[domain]) for domain, own in parameters.items()}

    def of_batch(runs: list[str]) -> list[Curve]:
        together = batch(fit, known.curves, {run: wanted[run] for run in runs})
        loss: list[list[FloatArray]] = [[] for _run in runs]
        transfer: list[list[FloatArray]] = [[] for _run in runs]
        for domain, model in fit.models.items():
            effects = {}
            if "discrepancy" in include:
                effects = effects_on(fit, together.design, domain, known.effects, fresh[domain])
            for index, path in enumerate(paths(model, together, parameters[domain], effects, levels)):
                spread = np.sqrt(path.noise_variance) * ("noise" in include)
                loss[index].append(path.loss + keyed_draws(spread, seed, f"noise {runs[index]} {model.role}"))
                without_cpt = together.checkpoints[index] is None
                transfer[index].append(np.full_like(path.at_start, np.nan) if without_cpt else path.at_start)
        curves = [
            Curve(run, wanted[run], _stretched(np.stack(loss[index], axis=1), width), np.stack(transfer[index], axis=1))
            for index, run in enumerate(runs)
        ]
        _check_finite(curves)
        rates = [together.design.features["relative_learning_rate"][places] for places in together.places]
        return [
            _with_out_of_domain(curve, fit.domains, combined, known.curves, rate, include=include, seed=seed)
            for curve, rate in zip(curves, rates, strict=True)
        ]

    # NumPy releases Python's lock; more threads in its linear algebra would slow these threads down
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        return [curve for curves in pool.map(of_batch, _batches(wanted)) for curve in curves]


def _stretched(loss: FloatArray, width: FloatArray) -> FloatArray:
    """Return draws (draws, domains, steps) that lie by a factor (draws or 1, domains) farther from their median."""
    if (width == 1).all():
        return loss
    middle = np.median(loss, axis=0)
    return middle + width[..., None] * (loss - middle)


def _recalibrated(posterior: xr.Dataset, domain: str) -> float:
    """Return the factor, by the median, by which forecasts on a domain are wider than the model has them."""
    learnt = STRETCH in posterior and domain in posterior[STRETCH]["domain"]
    return float(posterior[STRETCH].sel(domain=domain).median()) if learnt else 1.0


def _check_finite(curves: Sequence[Curve]) -> None:
    for curve in curves:
        if not np.isfinite(curve.loss).all():
            raise DataError(
                f"the forecast of run {quoted(curve.run)} is not a finite number: its learning rate or its length is "
                "far from all that was fitted, or the fit file is damaged"
            )


def _with_out_of_domain(
    curve: Curve,
    domains: Sequence[str],
    combined: Sequence[Combination],
    everyone: Curves,
    relative_learning_rate: FloatArray,
    *,
    include: Sequence[Part],
    seed: int,
) -> Curve:
    """Add the out-of-domain sets to a curve: combinations of its draws on pt and cpt."""
    if not combined:
        return curve
    lineage = everyone.lineage(curve.run).transfer_run
    basis = [domains.index(name) for name in everyone.names]
    both = np.concatenate([curve.loss[:, basis], curve.transfer_loss[:, basis, None]], axis=-1)
    losses, starts = [curve.loss], [curve.transfer_loss]
    for way in combined:
        start = start_of(everyone, lineage, way.known)
        own = way.parameters
        if "discrepancy" in include and SCALE in own:
            own = departed(
                way,
                lineage,
                {name: keyed_draws(own[SCALE], seed, f"{name} {lineage} {way.domain}") for name in COEFFICIENTS},
            )
        path = start[-1] + combination(own, both - start[:-1, None])
        spread = np.sqrt(variance(own, relative_learning_rate)) * ("noise" in include)
        losses.append((path[:, :-1] + keyed_draws(spread, seed, f"noise {curve.run} {way.domain}"))[:, None])
        starts.append(path[:, -1:])
    return curve._replace(loss=np.concatenate(losses, axis=1), transfer_loss=np.concatenate(starts, axis=1))


def _combinations(fit: Fit, include: Sequence[Part]) -> list[Combination]:
    combined = []
    for domain in fit.out_of_domain:
        parameters = parameters_of(fit.posterior, domain, "out_of_domain")
        found = {}
        if DEPARTURES in fit.posterior:  # not in draws of the prior
            values = (
                fit.posterior[DEPARTURES].sel(out_of_domain=domain).transpose("k_run", "coefficient", "chain", "draw")
            )
            for run, by_coefficient in zip(values["k_run"].to_numpy().tolist(), values.to_numpy(), strict=True):
                found[run] = dict(zip(COEFFICIENTS, by_coefficient.reshape(len(COEFFICIENTS), -1), strict=True))
        parameters = parameters if "parameters" in include else _averaged(parameters)
        combined.append(Combination(domain, parameters, found, joint_measurements(fit.curves, domain)))
    return combined


def _batches(wanted: Mapping[str, IntArray]) -> Iterator[list[str]]:
    """Group runs into batches of about ``POINTS_AT_A_TIME`` points."""
    batch: list[str] = []
    points = 0
    for run, steps in wanted.items():
        batch.append(run)
        points += len(steps)
        if points >= POINTS_AT_A_TIME:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch


def _averaged(parameters: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: np.full_like(values, values.mean()) for name, values in parameters.items()}


def _dataset(fit: Fit, planned: Curves, curves: Sequence[Curve]) -> xr.Dataset:
    posterior = fit.posterior
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    steps = np.unique(np.concatenate([curve.steps for curve in curves]))
    loss = np.empty((shape[0] * shape[1], len(curves), len(fit.every_domain), len(steps)))
    rates = np.full((len(curves), len(steps)), np.nan)
    for index, curve in enumerate(curves):
        places = np.searchsorted(steps, curve.steps)
        if len(places) < len(steps):
            loss[:, index] = np.nan
        loss[:, index][..., places] = curve.loss
        rates[index, places] = planned.learning_rate(curve.run)[np.maximum(curve.steps - 1, 0)]
    transfer = np.stack([curve.transfer_loss for curve in curves], axis=1)
    names = [curve.run for curve in curves]
    outside = beyond_data(planned, fit.curves)
    runs = planned.runs.loc[names]
    return xr.Dataset(
        {
            "loss": (("chain", "draw", "run", "domain", "step"), loss.reshape(*shape, *loss.shape[1:])),
            "transfer_loss": (("chain", "draw", "run", "domain"), transfer.reshape(*shape, *transfer.shape[1:])),
            "learning_rate": (("run", "step"), rates),
        },
        coords={
            "chain": posterior["chain"],
            "draw": posterior["draw"],
            "run": names,
            "domain": list(fit.every_domain),
            "step": steps,
            "replay": ("run", runs["replay"].to_numpy(float)),
            "peak": ("run", [planned.learning_rate(run).max() for run in names]),
            "end_step": ("run", [planned.end_step(run) for run in names]),
            "batch_tokens": ("run", runs["batch_tokens"].to_numpy(float)),
            "model_size": ("run", runs["model_size"].to_numpy(float)),
            "extrapolates": ("run", [", ".join(outside[run]) for run in names]),
            "parent": ("run", runs["parent"].fillna("").astype(str).to_numpy(object).astype(str)),
            "recalibrated": ("domain", [_recalibrated(posterior, domain) for domain in fit.every_domain]),
        },
        attrs={"warning": "" if fit.converged else fit.verdict, "findings": "\n".join(sentences(fit.findings))},
    )
