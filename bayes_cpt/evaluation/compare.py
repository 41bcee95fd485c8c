"""Compare models: each forecasts the runs left out; its scores give its rank and its weight in an average."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from scipy.special import softmax

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.evaluation.backtest import described_curves, folds, unseen
from bayes_cpt.evaluation.reweighting import GOOD_K, reweighted
from bayes_cpt.evaluation.scores import averaged, mean_distance, ordered_draws, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.forecasting.trajectories import Conditional, conditional
from bayes_cpt.inference.average import prepare_all
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared
from bayes_cpt.inference.settings import REFIT, SamplerOptions, SamplerSettings
from bayes_cpt.jobs.executor import place_of_work, run_jobs
from bayes_cpt.jobs.finished_jobs import begin, key_of
from bayes_cpt.jobs.sendable_model import SendableModel, sendable
from bayes_cpt.plausibility.checks import vetted, warned
from bayes_cpt.runs.curves import Curves, measured_steps
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.low_rank_gaussian import log_density
from bayes_cpt.statistical_model.model_files import ModelSpec, read_spec

REFITS = 20
"""Number of folds up to which all are refitted; of more folds, only those where importance sampling fails."""
SWEEPS = 4_000
"""Number of draws of the weights."""
FEW_DRAWS = 10
"""Effective draws below which a joint density is unreliable: no draw is close to the measured run."""
SPLITS = 257
"""Number of ways to split the joint weight of two models."""


@dataclass(frozen=True)
class Comparison:
    """Forecasts of left-out runs by several models, scored.

    Parameters
    ----------
    leave
        What was left out: a key of ``bayes_cpt.evaluation.backtest.QUESTIONS``, or ``tail``.
    points
        One row per model and measured point, as returned by `bayes_cpt.evaluation.scores.score_draws`, with its fold
        and whether the fit converged.
    densities
        One row per model, fold and domain: ``elpd``, the log of the joint density of all its left-out losses;
        ``effective_draws``, the number of draws that it effectively rests on; ``pareto_k``, NaN if the fold was
        refitted.
    distances
        One row per fold, run, domain and pair of models: the mean ``distance`` (nats) of their draws.
    folds
        Number of folds; fewer were done if the comparison was interrupted.

    Examples
    --------
    >>> result = bc.compare(curves, ["cpt-replay", "cpt-replay-exponential"])  # doctest: +SKIP
    >>> result.weights  # doctest: +SKIP
    {'cpt-replay': 0.62, 'cpt-replay-exponential': 0.38}
    """

    leave: str
    points: pd.DataFrame
    densities: pd.DataFrame
    distances: pd.DataFrame
    folds: int

    @cached_property
    def weights(self) -> dict[str, float]:
        """Weight of each model in an average: `stacking_weights`, where each run and domain counts once."""
        unit = ["fold", "run", "domain"]
        crps = self.points.pivot_table("crps", unit, "model")
        between = self.distances.set_index([*unit, "model", "other"])["distance"]
        shape = (len(crps), crps.shape[1], crps.shape[1])
        order = pd.MultiIndex.from_tuples([(*key, *pair) for key in crps.index for pair in product(crps, crps)])
        spread = between.loc[order].to_numpy().reshape(shape)
        found = stacking_weights(crps.to_numpy(), spread)
        return dict(zip(crps.columns.astype(str), found.tolist(), strict=True))

    @property
    def rough(self) -> bool:
        """Whether the ``elpd`` of a model rests on too few draws."""
        return bool((self.table["effective_draws"] < FEW_DRAWS).any())

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per model, the best ``wis`` first; errors are standard errors across folds, NaN for a single fold.

        ``elpd``, its error ``se``, its difference from the best model ``elpd_diff``, and the error of that ``dse`` are
        sums over folds, named as in ArviZ. ``effective_draws`` is the median over folds and domains; below
        ``FEW_DRAWS`` the ``elpd`` is rough. The other columns are means over folds, of means over runs and domains.
        """
        by = ["model", "fold"]
        elpd = self.densities.pivot_table("elpd", "fold", "model", aggfunc="sum")
        behind = elpd.sub(elpd[elpd.sum().idxmax()], axis=0)
        columns = {
            "elpd": elpd.sum(),
            "se": _error_of_sum(elpd),
            "elpd_diff": behind.sum(),
            "dse": _error_of_sum(behind),
            "effective_draws": self.densities.groupby("model")["effective_draws"].median(),
        }
        scores = averaged(self.points, [*by, "run", "domain"]).groupby(by)
        for name in ("mae", "wis", "cover50", "cover90"):
            by_fold = scores[name].mean().reset_index().pivot_table(name, "fold", "model")
            columns |= {name: by_fold.mean(), f"{name}_se": _error_of_sum(by_fold) / len(by_fold)}
        columns["weight"] = pd.Series(self.weights)
        columns["converged"] = self.points.groupby(by)["converged"].first().groupby("model").sum()
        table = pd.DataFrame(columns).sort_values("wis").rename_axis("model").reset_index()
        return table.assign(done=len(elpd), folds=self.folds, leave=self.leave)


class Judged(NamedTuple):
    """A fold, forecast by one model: rows of ``points`` and ``densities`` of a Comparison, and the sorted draws."""

    points: pd.DataFrame
    densities: pd.DataFrame
    draws: FloatArray


def compare(
    curves: Curves,
    models: Sequence[str | Path | ModelSpec],
    *,
    leave: str = "run",
    domains: Sequence[str] | None = None,
    cut: float = 0.5,
    refits: int = REFITS,
    accept: Sequence[str] = (),
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
    keep: str | Path | None = None,
    resume: bool = False,
    scheduler: str | None = None,
    **sampler: Unpack[SamplerOptions],
) -> Comparison:
    """Leave runs out in turn, forecast them with each model, and score the forecasts.

    Parameters
    ----------
    curves, domains, leave, cut, accept, done, keep, resume, scheduler, **sampler
        See `bayes_cpt.backtest`.
    models
        Names of shipped models, paths of model files, or specs.
    refits
        With at most so many folds, each model is refitted for each fold. With more, each model is fitted once to all
        curves, and its draws are reweighted by importance sampling for each fold; folds where this fails (Pareto k
        above 0.7) are refitted.

    Returns
    -------
    Comparison
        If interrupted, of the folds done for all models.

    Raises
    ------
    CurvesError, DataError, SpecError
        If the data cannot be right, a law does not fit them, nothing can be left out, or ``keep`` has other work.
    ClusterError
        If the cluster does not answer, or was lost.
    KeyboardInterrupt
        If interrupted before a fold was done for all models.

    References
    ----------
    Pareto-smoothed importance sampling: Vehtari et al., JMLR 25, 2024, arXiv 1507.02646. Weights: see Yao et al.,
    *Using stacking to average Bayesian predictive distributions*, Bayesian Analysis 13, 2018, arXiv 1704.02030.

    Examples
    --------
    >>> result = bc.compare(curves, ["cpt-replay", "cpt-replay-exponential"], leave="replay")  # doctest: +SKIP
    >>> result.table[["model", "wis", "elpd", "weight"]]  # doctest: +SKIP
    """
    settings = REFIT.changed(sampler)
    curves = warned(vetted(curves, domains, accept)).curves
    with place_of_work(scheduler) as place:
        described = described_curves(curves, read_spec(models[0]), domains) if models else curves
        planned = folds(described, leave, cut)
        compiled = prepare_all(curves, models, domains, planned)
        reweigh = len(planned) > refits
        specs = [prepared.spec for prepared in compiled.values()]
        names = ",".join(next(iter(compiled.values())).observations.every_domain)
        options = {"leave": leave, "cut": cut, "domains": names, "reweigh": str(reweigh)}
        key = key_of("compare", curves, specs, settings, **options)
        finished = begin(keep, Judged, key, resume) if keep else None
        sent = {name: sendable(prepared, curves, domains, planned) for name, prepared in compiled.items()}
        pairs = {f"{fold.name} by {name}": (fold, name) for fold in planned for name in compiled}
        jobs = {label: partial(_judged, sent[name], fold, reweigh, settings) for label, (fold, name) in pairs.items()}
        judged = run_jobs(place, jobs, done, finished)
    by_pair = {(pairs[label][0].name, pairs[label][1]): one for label, one in judged.items()}
    return put_together(leave, by_pair, len(planned))


def put_together(leave: str, judged: Mapping[tuple[str, str], Judged], folds: int) -> Comparison:
    """Make a comparison of the folds that were done for all models.

    Parameters
    ----------
    leave, folds
        As in a `Comparison`.
    judged
        By fold and model.

    Raises
    ------
    KeyboardInterrupt
        If there is no such fold.
    """
    models = list(dict.fromkeys(model for _fold, model in judged))
    names = dict.fromkeys(fold for fold, _model in judged)
    complete = [fold for fold in names if all((fold, model) in judged for model in models)]
    if not complete:
        raise KeyboardInterrupt
    kept = [judged[fold, model] for model in models for fold in complete]
    distances = [
        _distances(judged[fold, model], judged[fold, other]).assign(model=model, other=other)
        for fold in complete
        for model in models
        for other in models
    ]
    return Comparison(
        leave,
        pd.concat([one.points for one in kept], ignore_index=True),
        pd.concat([one.densities for one in kept], ignore_index=True),
        pd.concat(distances, ignore_index=True),
        folds,
    )


def judge(prepared: Prepared, fold: Holdout, fitted: Fit, pareto_k: float = np.nan) -> Judged:
    """Forecast a fold from a fit without it, and score the forecasts; ``pareto_k`` is NaN for a refit."""
    measured = unseen(prepared, fold)
    drawn = forecast(fitted, measured, steps=measured_steps(measured), seed=int(fitted.tree.attrs["seed"]))
    parts = conditional(fitted, measured)
    losses = pd.concat([given.points for given in parts.values()], ignore_index=True)
    named = {"model": prepared.spec.name, "fold": fold.name}
    densities = pd.DataFrame([{"domain": domain, **_density(given)} for domain, given in parts.items()])
    return Judged(
        score_draws(drawn, losses).assign(**named, converged=fitted.converged),
        densities.assign(**named, pareto_k=pareto_k),
        ordered_draws(drawn, losses),
    )


def _density(given: Conditional) -> dict[str, float]:
    """Return the log of the mean joint density of all losses, and the effective number of draws in that mean."""
    residual = given.points["loss"].to_numpy() - given.mean
    logs = log_density(residual, given.variance, given.columns)
    shares = softmax(logs)
    return {
        "elpd": float(np.log(np.exp(logs - logs.max()).mean()) + logs.max()),
        "effective_draws": float(1 / (shares**2).sum()),
    }


def _distances(judged: Judged, other: Judged) -> pd.DataFrame:
    """Return, by run and domain, the mean distance between a draw of one model and a draw of another."""
    both = np.sort(np.concatenate([judged.draws, other.draws], axis=1), axis=1)
    # of all pairs of the joint draws, a quarter are within each model, and half between the two
    between = 2 * mean_distance(both) - (mean_distance(judged.draws) + mean_distance(other.draws)) / 2
    unit = ["fold", "run", "domain"]
    return judged.points[unit].assign(distance=between).groupby(unit)["distance"].mean().reset_index()


def _judged(model: SendableModel, fold: Holdout, reweigh: bool, settings: SamplerSettings) -> Judged:
    """Judge a fold by the reweighted draws of the fit to all curves if their diagnostic allows, else by a refit."""
    prepared = model.prepared
    if reweigh:
        fitted, pareto_k = reweighted(prepared, model.whole(settings), fold)
        if pareto_k <= GOOD_K:
            return judge(prepared, fold, fitted, pareto_k)
    return judge(prepared, fold, fit_prepared(prepared, settings, fold, model.starts(settings)))


def _error_of_sum(by_fold: pd.DataFrame) -> pd.Series:
    return np.sqrt(len(by_fold)) * by_fold.std(ddof=1)


def stacking_weights(crps: FloatArray, distance: FloatArray, seed: int = 1) -> FloatArray:
    """Return the weights of models in a mixture of their forecasts, by the CRPS of the mixture.

    The CRPS of a mixture follows from the CRPS of its components and their distances. Per unit, it is divided by the
    CRPS of the best model, so that units with large errors do not dominate. With few units, the weights that minimise
    the sum tend to select a single model. Weights are therefore treated as uncertain: with a uniform prior over all
    shares, and the density exp(-sum of relative CRPS). The result is the mean of this distribution, which approaches
    the minimum as units are added.

    Parameters
    ----------
    crps
        (units, models) Continuous ranked probability score, nats.
    distance
        (units, models, models) Mean distance between a draw of one model and a draw of another, nats.
    seed
        Seed of the draws of weights.

    Returns
    -------
    array (models,)
        Sums to 1.

    References
    ----------
    Stacking: Yao et al., Bayesian Analysis 13, 2018, arXiv 1704.02030. CRPS by distances: Gneiting & Raftery, JASA 102,
    2007, Eq. 21.
    """
    best = crps.min(axis=1)
    linear = ((crps + np.diagonal(distance, axis1=1, axis2=2) / 2) / best[:, None]).sum(axis=0)
    quadratic = (distance / best[:, None, None]).sum(axis=0)
    random, models = np.random.default_rng(seed), len(linear)
    pairs = list(combinations(range(models), 2))
    weights, total = np.full(models, 1 / models), np.zeros(models)
    for _ in range(SWEEPS):
        for one, other in pairs:  # a Gibbs step: split the joint weight of two models anew, given the others
            shares = np.linspace(0, weights[one] + weights[other], SPLITS)
            tried = np.tile(weights, (SPLITS, 1))
            tried[:, one], tried[:, other] = shares, shares[::-1]
            penalty = tried @ linear - ((tried @ quadratic) * tried).sum(axis=1) / 2
            reached = np.cumsum(np.exp(penalty.min() - penalty))
            weights = tried[np.searchsorted(reached / reached[-1], random.uniform())]
        total += weights
    return total / SWEEPS
