"""Simulation-based calibration: whether a model's posteriors are right, whatever truth its prior holds.

Parameters are drawn from the prior, losses are simulated from them, and the posterior is sampled as for any other
data. If model and sampler are sound, the rank of each true parameter among the draws of its posterior is uniform (Talts
et al. 2018, arXiv 1804.06788). The log density of parameters and data is ranked too: it sees faults, such as
a posterior that is the prior, that no single parameter shows (Modrak et al. 2023, arXiv 2211.02383). Uniformity is
judged by the ranks' cumulative distribution as a whole (Säilynoja et al. 2022, arXiv 2103.10522).

simuk does the same for any PyMC model, but by ``pm.sample`` on a model made anew for each simulation, so compiled anew,
and past this project's own sampler. Here one compiled density serves all, and only the data in it change.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pymc as pm
from arviz_stats.base.array import array_stats
from scipy.stats import binom
from threadpoolctl import threadpool_limits

from bayes_cpt.areas import FloatArray, IntArray
from bayes_cpt.curves import Curves, curves_from_frames
from bayes_cpt.discrepancy import effect_labels
from bayes_cpt.errors import DataError
from bayes_cpt.inference import DIVERGENT_LIMIT, Prepared, prepare
from bayes_cpt.laws import Law
from bayes_cpt.likelihood import discrepancy, evaluate
from bayes_cpt.model import domain_models
from bayes_cpt.sampling import Density, sample_density
from bayes_cpt.schedules import Schedule, constant, cosine, learning_rates, linear, wsd
from bayes_cpt.specs import DEFAULT_MODEL

LEVEL = 0.01
"""Chance at which a sound model is called miscalibrated."""
ATTEMPTS = 5
LONGER = 2
"""A fit that did not converge is made again, so many times as long as before; at most ``ATTEMPTS`` in all."""
NULL_DRAWS = 20_000
"""Uniform samples that a sample of ranks is compared with."""
LOG_DENSITY = "log density"

type Simulator = Callable[[Prepared, Mapping[str, FloatArray], np.random.Generator], Mapping[str, FloatArray]]


@dataclass(frozen=True)
class Calibration:
    """Ranks of true parameters among the draws of their posteriors.

    Parameters
    ----------
    model
        Name of the model.
    ranks
        By simulation: of each parameter (``name[domain]``) and of the log density, from 0 to ``draws``.
    fits
        By simulation: ``attempts``, ``ess`` (smallest bulk ESS), ``divergent`` (share of the draws) and ``converged``:
        whether there are as many effective draws as a rank needs, and few divergences. Fits that did not converge are
        ranked like any other; one that could not be started has no ranks.
    draws
        Near independent draws that each truth was ranked among.
    simulations
        How many there were to do; ``ranks`` has fewer rows if interrupted.
    """

    model: str
    ranks: pd.DataFrame
    fits: pd.DataFrame
    draws: int
    simulations: int

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """How uniform each parameter's ranks are.

        ``p`` of their being uniform, ``corrected`` for the number of parameters (Holm), and ``mean``, the mean rank as
        a share: above a half, the posterior lies too low.
        """
        p = uniformity(self._counts, self._size)
        share = (self.ranks + 0.5) / (self.draws + 1)
        return pd.DataFrame({"p": p, "corrected": _holm(p), "mean": share.mean()}, index=self.ranks.columns)

    @property
    def calibrated(self) -> bool:
        """Whether all ranks may be uniform."""
        return bool(self.uniformity["corrected"].min() >= LEVEL)

    @property
    def verdict(self) -> str:
        """What the ranks say, in words."""
        worst = self.uniformity["corrected"].idxmin()
        smallest = self.uniformity["corrected"].min()
        said = "no sign of miscalibration" if self.calibrated else "MISCALIBRATED"
        doubts = int((~self.fits["converged"]).sum())
        notes = [f"{doubts} of {len(self.fits)} fits did not converge"] if doubts else []
        notes += (
            [f"interrupted after {len(self.fits)} of {self.simulations}"] if len(self.fits) < self.simulations else []
        )
        return "; ".join([f"{self.model}: {said} (smallest corrected p {smallest:.3g}, {worst})", *notes])

    @property
    def differences(self) -> pd.DataFrame:
        """By place in (0, 1): each parameter's cumulative distribution of ranks less the uniform one."""
        place = np.arange(1, self.draws + 1) / (self.draws + 1)
        return pd.DataFrame(self._counts.T / self._size - place[:, None], index=place, columns=self.ranks.columns)

    @property
    def band(self) -> pd.DataFrame:
        """Limits of the differences by place in (0, 1): ``lower`` and ``upper``.

        All of them stay between these together with probability 1 - ``LEVEL`` if all ranks are uniform.
        """
        place = np.arange(1, self.draws + 1) / (self.draws + 1)
        threshold = np.quantile(_null(self._size, self.draws), LEVEL / len(self.ranks.columns))
        limits = binom.ppf([[threshold / 2], [1 - threshold / 2]], self._size, place) / self._size - place
        return pd.DataFrame(limits.T, index=place, columns=["lower", "upper"])

    @property
    def _size(self) -> int:
        return int(self.fits["attempts"].gt(0).sum())

    @property
    def _counts(self) -> IntArray:
        """(parameters, draws) How many ranks lie below 1, 2, ..., ``draws``."""
        below = self.ranks.dropna().to_numpy()[..., None] < np.arange(1, self.draws + 1)
        return below.sum(axis=0)


def calibrate(
    curves: Curves,
    law: str | Path = DEFAULT_MODEL,
    *,
    simulations: int = 200,
    domains: Sequence[str] | None = None,
    draws: int = 31,
    tune: int = 100,
    every: int = 4,
    seed: int = 1,
    simulator: Simulator | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Calibration:
    """Draw truths from the prior, simulate losses of the runs in ``curves``, fit them, and rank the truths.

    The model is compiled once.

    Parameters
    ----------
    curves
        Runs and where they are measured, such as `pilot_runs`; their losses give the priors their units, no more.
    law
        Name of a shipped model, or path of a model file.
    simulations
        How many.
    draws
        Near independent draws of the posterior that a truth is ranked among.
    domains
        As of `bayes_cpt.inference.fit`.
    tune
        Warm-up of the sampler, which runs one chain.
    every
        Draws sampled for each one kept.
    seed
        Of truths, losses and sampler.
    simulator
        What makes losses of parameters, as `simulated_losses`, which it is by default; another one shows what a fault
        of the model would do.
    done
        Called after each simulation with how many are done, and how many there are.

    Returns
    -------
    Calibration
        If interrupted, of the simulations that were done.

    Raises
    ------
    KeyboardInterrupt
        If interrupted before any simulation was done.
    """
    prepared = prepare(curves, law, domains=domains)
    random = np.random.default_rng(seed)
    truths = prior_draws(prepared, simulations, seed)
    losses = (simulator or simulated_losses)(prepared, truths.parameters, random)
    seeds = random.integers(2**31, size=simulations).tolist()
    found: dict[int, Ranked] = {}
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {
            pool.submit(
                ranked,
                _with_losses(prepared.density, {domain: values[index] for domain, values in losses.items()}),
                truths.unconstrained[index],
                draws=draws,
                tune=tune,
                every=every,
                seed=seeds[index],
            ): index
            for index in range(simulations)
        }
        try:
            for future in as_completed(running):
                found[running[future]] = future.result()
                done(len(found), simulations)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            if not found:
                raise
    order = pd.Index(sorted(found), name="simulation")
    return Calibration(
        model=prepared.spec.name,
        ranks=pd.DataFrame([found[i].ranks for i in order], order, [*truths.labels, LOG_DENSITY]),
        fits=pd.DataFrame([found[i].diagnostics for i in order], order),
        draws=draws,
        simulations=simulations,
    )


class Truths(NamedTuple):
    """Draws from the prior.

    Parameters
    ----------
    parameters
        By name, (draws,) or (draws, domains).
    unconstrained
        (draws, size) The same as the flat vectors that the density takes.
    labels
        Of the vector's entries: ``name[domain]``, or ``name`` where it is common to the domains.
    """

    parameters: dict[str, FloatArray]
    unconstrained: FloatArray
    labels: list[str]


def prior_draws(prepared: Prepared, count: int, seed: int) -> Truths:
    """Draw parameters from the prior of a model."""
    model, order = prepared.model, [info[0] for info in prepared.density.start.point_map_info or ()]
    free = sorted(model.free_RVs, key=lambda variable: order.index(model.rvs_to_values[variable].name))
    # entries of the vector grow with the parameters, so ranks among the one are ranks among the other
    transforms = [model.rvs_to_transforms[variable] for variable in free]
    moved = [
        variable if transform is None else transform.forward(variable, *variable.owner.inputs)
        for variable, transform in zip(free, transforms, strict=True)
    ]
    values = pm.draw([*free, *moved], draws=count, random_seed=seed, mode="FAST_COMPILE")
    names = [str(variable.name) for variable in free]
    labels = [
        label
        for name, variable in zip(names, free, strict=True)
        for label in ([f"{name}[{domain}]" for domain in prepared.observations.domains] if variable.ndim else [name])
    ]
    flat = np.column_stack(list(values[len(free) :]))
    return Truths(dict(zip(names, values[: len(free)], strict=True)), flat, labels)


def simulated_losses(
    prepared: Prepared, parameters: Mapping[str, FloatArray], random: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw losses at all nodes of a design, by domain (draws, nodes): law + discrepancy + noise.

    Parameters
    ----------
    prepared
        The model: only parts of the discrepancy that its likelihood has are drawn.
    parameters
        By name, (draws,) or (draws, domains).
    random
        Source of randomness.
    """
    spec, static = prepared.spec, prepared.observations.design
    losses = {}
    for index, (domain, model) in enumerate(domain_models(spec, prepared.observations).items()):
        own = {name: values if values.ndim == 1 else values[:, index] for name, values in parameters.items()}
        evaluation = evaluate(model, static, own)
        shape = evaluation.law.shape
        effects = {
            name: own[f"{name}_scale"][:, None] * random.standard_normal((shape[0], len(effect_labels(name, static))))
            for name in spec.fitted_components
        }
        noise = np.sqrt(evaluation.noise_variance) * random.standard_normal(shape)
        losses[domain] = evaluation.law + discrepancy(evaluation, effects) + noise
    return losses


def _with_losses(density: Density, losses: Mapping[str, FloatArray]) -> Density:
    return density._replace(
        data={**density.data, **{f"observed_{domain}": values for domain, values in losses.items()}}
    )


class Ranked(NamedTuple):
    """Ranks of one truth and of its log density, and what the sampler says of the fit."""

    ranks: FloatArray
    diagnostics: dict[str, float]


def ranked(density: Density, truth: FloatArray, *, draws: int, tune: int, every: int, seed: int) -> Ranked:
    """Sample a posterior until it has converged or ``ATTEMPTS`` are used up, and rank the truth among its draws."""
    nothing = {"attempts": 0, "ess": np.nan, "divergent": np.nan, "converged": False}
    result = Ranked(np.full(truth.size + 1, np.nan), nothing)
    for attempt in range(ATTEMPTS):
        length = LONGER**attempt
        try:
            found, stats = sample_density(
                density,
                draws=length * every * draws,
                tune=length * tune,
                chains=1,
                seed=seed + attempt,
                progress=False,
            )
        except DataError:  # no start has a finite density
            return result
        quantities = np.concatenate([found, stats["logp"].to_numpy()[..., None]], axis=-1)
        target = np.append(truth, density.evaluate(truth)[0])
        diagnostics = _diagnostics(quantities, stats["diverging"].to_numpy(), draws)
        kept = quantities[0, length * every - 1 :: length * every]
        result = Ranked((kept < target).sum(axis=0).astype(float), {"attempts": attempt + 1, **diagnostics})
        if diagnostics["converged"]:
            break
    return result


def _diagnostics(quantities: FloatArray, diverging: FloatArray, draws: int) -> dict[str, float]:
    # of a chain cut in two, so that it falls where the halves disagree: R-hat would say nothing new
    effective = float(np.min(array_stats.ess(quantities, chain_axis=0, draw_axis=1)))
    divergent = float(diverging.mean())
    return {"ess": effective, "divergent": divergent, "converged": effective >= draws and divergent <= DIVERGENT_LIMIT}


# Uniformity ---------------------------------------------------------------------------------------------------------


def uniformity(counts: IntArray, size: int) -> FloatArray:
    """Return p-values (samples,) of samples of ranks being uniform.

    The statistic is the smallest tail probability, over all places, of the ranks below it; its distribution for
    uniform ranks is found by simulation, once for all samples.

    Parameters
    ----------
    counts
        (samples, places) How many ranks lie below 1, 2, ..., places; ranks are 0 to places.
    size
        Ranks in each sample.
    """
    null = np.sort(_null(size, counts.shape[1]))
    # equal up to rounding: the statistic takes few values
    return (1 + np.searchsorted(null, _smallest_tail(counts, size) * (1 + 1e-9))) / (1 + null.size)


def _smallest_tail(counts: IntArray, size: int) -> FloatArray:
    places = counts.shape[1]
    expected = np.arange(1, places + 1) / (places + 1)
    below = np.arange(size + 1)[:, None]
    tails = 2 * np.minimum(binom.cdf(below, size, expected), binom.sf(below - 1, size, expected))
    return tails[counts, np.arange(places)].min(axis=1)


def _null(size: int, places: int) -> FloatArray:
    """Return the statistic of uniform samples."""
    random = np.random.default_rng(1)
    bins = random.multinomial(size, np.full(places + 1, 1 / (places + 1)), NULL_DRAWS)
    return _smallest_tail(bins.cumsum(axis=1)[:, :-1], size)


def _holm(p: FloatArray) -> FloatArray:
    """Return p-values corrected for their number."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.minimum(stepped, 1)[np.argsort(order)]


# Template -----------------------------------------------------------------------------------------------------------

PEAK, WARMUP, PT_STEPS, CPT_STEPS = 2e-3, 100, 6000, 3000
LOSS = 3.0
MODEL_SIZE = 100_000_000
RATIOS = (0.0, 0.1, 0.3, 1.0)


def pilot_runs(law: Law, points: int = 25) -> Curves:
    """Return a small design of runs that a law describes: pre-training, and four continual pre-training runs.

    All losses are 3 nats: a template gives priors their units.

    Parameters
    ----------
    law
        Decides on phases, replay ratios, lengths and whether the pre-training is known.
    points
        Measured in each run.
    """
    schedules: dict[str, Schedule] = {
        "wsd": wsd(PEAK, CPT_STEPS, WARMUP),
        "cosine": cosine(PEAK, CPT_STEPS, WARMUP, final=0.1),
        "linear": linear(PEAK / 2, CPT_STEPS, WARMUP),
        "constant": constant(PEAK, CPT_STEPS // 2 if law.has_length else CPT_STEPS, WARMUP),
    }
    pretraining = {"pt": wsd(PEAK, PT_STEPS, WARMUP)} if law.knows_checkpoint else {}
    parent, start = ("pt", PT_STEPS) if law.has_shift and law.knows_checkpoint else (None, None)
    runs = pd.DataFrame(
        {
            "run": [*pretraining, *schedules],
            "phase": [*("pt" for _ in pretraining), *("cpt" if law.has_shift else "pt" for _ in schedules)],
            "parent": [*(None for _ in pretraining), *(parent for _ in schedules)],
            "parent_step": [*(None for _ in pretraining), *(start for _ in schedules)],
            "replay": [
                *(None for _ in pretraining),
                *(None if not law.has_shift else ratio if law.has_replay else 0.0 for ratio in RATIOS),
            ],
            "model_size": MODEL_SIZE,
        }
    )
    rates = {run: learning_rates(schedule) for run, schedule in (pretraining | schedules).items()}
    lr = [pd.DataFrame({"run": run, "step": np.arange(1, used.size + 1), "lr": used}) for run, used in rates.items()]
    first = {run: WARMUP if phase == "pt" else 0 for run, phase in zip(runs["run"], runs["phase"], strict=True)}
    losses = [
        pd.DataFrame(
            {"run": run, "step": np.linspace(first[run], used.size, points).astype(int), "domain": domain, "loss": LOSS}
        )
        for run, used in rates.items()
        for domain in law.terms
    ]
    return curves_from_frames(runs, pd.concat(lr), pd.concat(losses))
