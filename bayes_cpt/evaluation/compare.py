"""Which law? Each law forecasts the runs that were left out; how well it did is its score, and gives its weight."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from scipy.special import softmax

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.evaluation.backtest import folds, in_turn, unseen
from bayes_cpt.evaluation.reweighting import GOOD_K, reweighted
from bayes_cpt.evaluation.scores import averaged, mean_distance, ordered_draws, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.forecasting.trajectories import Conditional, conditional
from bayes_cpt.inference.average import prepare_all
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared
from bayes_cpt.inference.settings import REFIT, SamplerOptions, SamplerSettings
from bayes_cpt.runs.curves import Curves, measured_steps
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.low_rank_gaussian import log_density
from bayes_cpt.statistical_model.model_files import ModelSpec

REFITS = 20
"""Up to so many folds, each is refitted outright; of more, those that importance sampling cannot do."""
SWEEPS = 4_000
"""Draws of the weights."""
FEW_DRAWS = 10
"""Effective draws below which a joint density says little: none of the draws is near the run as measured."""
SPLITS = 257
"""Ways to split what two models share."""


@dataclass(frozen=True)
class Comparison:
    """Forecasts of left-out runs by several laws, scored.

    Parameters
    ----------
    leave
        What was left out at a time: a key of ``bayes_cpt.evaluation.backtest.QUESTIONS``.
    points
        One row per model and measured point, as `bayes_cpt.evaluation.scores.score_draws` gives, with the fold and
        whether its fit converged.
    densities
        One row a model, fold and domain: ``elpd``, the log of the joint density of all its left-out losses;
        ``effective_draws``, how many draws carry it; ``pareto_k``, NaN where the fold was refitted.
    distances
        One row a fold, run, domain and pair of models: the mean ``distance`` of their draws.
    folds
        How many there were to do; fewer were done if it was interrupted.
    """

    leave: str
    points: pd.DataFrame
    densities: pd.DataFrame
    distances: pd.DataFrame
    folds: int

    @cached_property
    def weights(self) -> dict[str, float]:
        """Share of each model in an average: `stacking_weights`, where each run and domain counts once."""
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
        """Whether some model's ``elpd`` rests on few draws."""
        return bool((self.table["effective_draws"] < FEW_DRAWS).any())

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a model, the best ``wis`` first; errors are standard errors across folds, NaN of a single one.

        ``elpd``, its error ``se``, the difference from the best, ``elpd_diff``, and the error of that, ``dse``, are
        sums over folds, and named as ArviZ does. ``effective_draws`` is the median over folds and domains: an ``elpd``
        that fewer than ``FEW_DRAWS`` carry is rough. The others are means over folds, of means over runs and domains.
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
    """A fold, forecast by one law: rows of a Comparison's ``points`` and ``densities``, and the draws, in order."""

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
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
    **sampler: Unpack[SamplerOptions],
) -> Comparison:
    """Leave runs out in turn, forecast them by each law from the others, and score the forecasts.

    Parameters
    ----------
    curves, domains, leave, cut, done, **sampler
        As of `bayes_cpt.evaluation.backtest.backtest`.
    models
        Names of shipped models, paths of model files, or specs.
    refits
        With more folds than this, each law is fitted once to all curves, and a fold is forecast by that fit's draws,
        reweighted, where the diagnostic of the weights (Pareto k up to 0.7) allows, else refitted.

    Returns
    -------
    Comparison
        If interrupted, of the folds that were done for all laws.

    Raises
    ------
    DataError, SpecError
        If a law does not fit the data, or nothing can be left out of them.
    KeyboardInterrupt
        If interrupted before all laws had done a fold.
    """
    compiled = prepare_all(curves, models, domains)
    planned = folds(next(iter(compiled.values())).curves, leave, cut)
    settings = replace(REFIT, **sampler)
    whole: Mapping[str, Fit] = {}
    if len(planned) > refits:
        whole = {name: fit_prepared(prepared, settings) for name, prepared in compiled.items()}
    jobs = {
        (fold.name, name): partial(_judged, prepared, fold, whole.get(name), settings)
        for fold in planned
        for name, prepared in compiled.items()
    }
    judged = in_turn(jobs, lambda job, count, jobs: done(f"{job[0]} by {job[1]}", count, jobs))
    return put_together(leave, judged, len(planned))


def put_together(leave: str, judged: Mapping[tuple[str, str], Judged], folds: int) -> Comparison:
    """Make a comparison of what was judged, by fold and model; of ``folds``, those that all models did count.

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
    """Forecast a fold by a fit without it, and score the forecasts; ``pareto_k`` says how that fit was come by."""
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
    """Return the log of the mean density of all losses together, and how many draws make up that mean."""
    residual = given.points["loss"].to_numpy() - given.mean
    logs = log_density(residual, given.variance, given.columns)
    shares = softmax(logs)
    return {
        "elpd": float(np.log(np.exp(logs - logs.max()).mean()) + logs.max()),
        "effective_draws": float(1 / (shares**2).sum()),
    }


def _distances(judged: Judged, other: Judged) -> pd.DataFrame:
    """Return, by run and domain, the mean distance of a draw by one law from a draw by another."""
    both = np.sort(np.concatenate([judged.draws, other.draws], axis=1), axis=1)
    # pairs from the two laws together are a quarter within the one, a quarter within the other, half between them
    between = 2 * mean_distance(both) - (mean_distance(judged.draws) + mean_distance(other.draws)) / 2
    unit = ["fold", "run", "domain"]
    return judged.points[unit].assign(distance=between).groupby(unit)["distance"].mean().reset_index()


def _judged(prepared: Prepared, fold: Holdout, whole: Fit | None, settings: SamplerSettings) -> Judged:
    """Judge a fold by the draws of the fit of all curves, where they reach so far, or else by a refit."""
    if whole is not None:
        fitted, pareto_k = reweighted(prepared, whole, fold)
        if pareto_k <= GOOD_K:
            return judge(prepared, fold, fitted, pareto_k)
    return judge(prepared, fold, fit_prepared(prepared, settings, fold))


def _error_of_sum(by_fold: pd.DataFrame) -> pd.Series:
    return np.sqrt(len(by_fold)) * by_fold.std(ddof=1)


def stacking_weights(crps: FloatArray, distance: FloatArray, seed: int = 1) -> FloatArray:
    """Return the weights with which a mixture of forecasts would have done well: the mean over all that might do.

    The CRPS of a mixture is known from that of its parts and their distances. Each unit's is counted in multiples of
    its best part's, so that rough runs do not outweigh the others. The weights that minimise the sum stake all on one
    law where units are few. So weights are taken as uncertain, before the units uniformly over all shares, and after
    them with a density that falls by e with each multiple: the more units speak, the nearer is the mean to the minimum.

    Parameters
    ----------
    crps
        (units, models).
    distance
        (units, models, models) Mean distance of two draws, of a model each.
    seed
        Of the draws of weights.
    """
    best = crps.min(axis=1)
    linear = ((crps + np.diagonal(distance, axis1=1, axis2=2) / 2) / best[:, None]).sum(axis=0)
    quadratic = (distance / best[:, None, None]).sum(axis=0)
    random, models = np.random.default_rng(seed), len(linear)
    pairs = list(combinations(range(models), 2))
    weights, total = np.full(models, 1 / models), np.zeros(models)
    for _ in range(SWEEPS):
        for one, other in pairs:  # what two models share is split anew, given the rest
            shares = np.linspace(0, weights[one] + weights[other], SPLITS)
            tried = np.tile(weights, (SPLITS, 1))
            tried[:, one], tried[:, other] = shares, shares[::-1]
            penalty = tried @ linear - ((tried @ quadratic) * tried).sum(axis=1) / 2
            reached = np.cumsum(np.exp(penalty.min() - penalty))
            weights = tried[np.searchsorted(reached / reached[-1], random.uniform())]
        total += weights
    return total / SWEEPS
