"""Backtests: leave runs out, forecast them from the others, and score the forecasts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd

from bayes_cpt.errors import DataError, hint
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import REFIT, SamplerOptions, SamplerSettings
from bayes_cpt.jobs.executor import place_of_work, run_jobs
from bayes_cpt.jobs.finished_jobs import begin, key_of
from bayes_cpt.jobs.sendable_model import SendableModel, sendable
from bayes_cpt.plausibility.checks import vetted, warned
from bayes_cpt.runs.curves import Curves, measured_steps, select
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.model_files import DEFAULT_MODEL, ModelSpec, read_spec
from bayes_cpt.statistical_model.observations import observe


@dataclass(frozen=True)
class Backtest:
    """Forecasts of runs that were left out, scored.

    Parameters
    ----------
    leave
        What was left out: a key of ``QUESTIONS``, or ``tail``.
    points
        One row per measured point, as returned by `bayes_cpt.evaluation.scores.score_draws`, with its fold and whether
        the fit converged.
    folds
        Number of folds; ``points`` has fewer if the backtest was interrupted.
    kept
        Runs that were never left out, since more than half of the runs would have been left out with them.
    untested
        Keys of ``QUESTIONS`` that no fold answers: of no fold, all fitted runs differed in it from a run left out.

    Examples
    --------
    >>> result = bc.backtest(curves, "cpt-replay", leave="replay")  # doctest: +SKIP
    >>> result.table[["fold", "run", "domain", "mae", "cover90"]]  # doctest: +SKIP
    """

    leave: str
    points: pd.DataFrame
    folds: int
    kept: tuple[str, ...] = ()
    untested: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """Scores by fold, run and domain: mae, rmse, wis, crps, cover50, cover80, cover90, width90, and more.

        ``stretch``: the factor by which the 90 % intervals would have to be widened to cover 90 % of the points.
        ``end50`` and ``end90``: whether the intervals cover the last measured loss. ``extrapolates``: the settings in
        which the run is outside the range of the runs that forecast it. ``untested``: see the field of this name.
        """
        by = ["fold", "run", "domain", "extrapolates", "converged"]
        groups = self.points.groupby(by, sort=False)
        last = self.points.loc[groups["step"].idxmax()].set_index(by)
        scores = averaged(self.points, by).assign(
            stretch=groups[["loss", "q05", "q50", "q95"]].apply(_stretch), end50=last["cover50"], end90=last["cover90"]
        )
        untested = ", ".join(self.untested)
        return scores.reset_index().assign(leave=self.leave, folds=self.folds, untested=untested)


def backtest(
    curves: Curves,
    model: str | Path | ModelSpec = DEFAULT_MODEL,
    *,
    leave: str = "run",
    domains: Sequence[str] | None = None,
    cut: float = 0.5,
    accept: Sequence[str] = (),
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
    keep: str | Path | None = None,
    resume: bool = False,
    scheduler: str | None = None,
    **sampler: Unpack[SamplerOptions],
) -> Backtest:
    """Leave runs out in turn, fit the others, forecast those left out, and score the forecasts.

    The model is compiled once. The priors of all folds have the scales of all the curves.

    Parameters
    ----------
    curves, model, domains, accept
        See `bayes_cpt.fit`.
    leave
        What runs that are left out together have in common: a key of ``QUESTIONS`` (``run``, ``replay``, ``schedule``,
        ``length``, ``checkpoint``); or ``tail``, which leaves out the end of each run.
    cut
        With ``leave="tail"``: the share of the steps of a run that is fitted, in (0, 1).
    done
        Called after each fold with its name, the number of folds done, and the number of all folds.
    keep
        Folder for the results of finished folds, each written as it comes; delete it when you have saved the scores.
    resume
        Whether to go on from the results in ``keep``; otherwise those of an earlier backtest are deleted.
    scheduler
        Address of the scheduler of a Dask cluster, for example ``tcp://10.0.0.1:8786``, whose workers fit the folds;
        None fits them in this process.
    **sampler
        See `bayes_cpt.fit`; by default with fewer draws.

    Returns
    -------
    Backtest
        If interrupted, of the folds done until then.

    Raises
    ------
    CurvesError, DataError
        If the data cannot be right, ``leave`` is unknown, nothing can be left out, or ``keep`` has other work.
    ClusterError
        If the cluster does not answer, or was lost.
    KeyboardInterrupt
        If interrupted before any fold was done.

    Examples
    --------
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))  # doctest: +SKIP
    >>> larger = bc.select(curves, "model_size == 332448", ["pt", "cpt"])  # doctest: +SKIP
    >>> bc.verdict(bc.backtest(larger, leave="replay").table)  # doctest: +SKIP
    """
    settings, spec = REFIT.changed(sampler), read_spec(model)
    curves = warned(vetted(curves, domains, accept)).curves
    with place_of_work(scheduler) as place:
        planned = folds(described_curves(curves, spec, domains), leave, cut)
        prepared = prepare(curves, spec, domains=domains, holdouts=planned)
        described = ",".join(prepared.observations.every_domain)
        key = key_of("backtest", curves, [spec], settings, leave=leave, cut=cut, domains=described)
        finished = begin(keep, Scored, key, resume) if keep else None
        one = sendable(prepared, curves, domains, planned)
        jobs = {fold.name: partial(_scored_fold, one, fold, settings) for fold in planned}
        scored = run_jobs(place, jobs, done, finished)
    left_out = {run for fold in planned for run in fold.first_step}
    kept = tuple(run for run in _candidates(prepared.curves) if run not in left_out)
    points = pd.concat([fold.points for fold in scored.values()], ignore_index=True)
    return Backtest(leave, points, len(planned), kept, _untested(prepared.curves, planned))


class Scored(NamedTuple):
    """A fold, forecast and scored: rows of ``points`` of a `Backtest`."""

    points: pd.DataFrame


def _scored_fold(model: SendableModel, fold: Holdout, settings: SamplerSettings) -> Scored:
    fitted = fit_prepared(model.prepared, settings, fold, model.starts(settings))
    measured = unseen(model.prepared, fold)
    steps = measured_steps(measured)
    draws = forecast(fitted, measured, steps=steps, seed=settings.seed)
    points = score_draws(draws, measured.losses)
    outside = points["run"].map(draws["extrapolates"].to_series())
    return Scored(points.assign(fold=fold.name, extrapolates=outside, converged=fitted.converged))


def described_curves(curves: Curves, spec: ModelSpec, domains: Sequence[str] | None) -> Curves:
    """Return the curves with the losses of the fitted domains."""
    return select(curves, domains=observe(curves, spec.law, domains).every_domain)


def unseen(prepared: Prepared, fold: Holdout) -> Curves:
    """Return the runs left out, with the losses to forecast: those that a fit to all curves would use."""
    measured, set_aside = fold.unseen(prepared.curves), prepared.observations.set_aside
    places = pd.MultiIndex.from_frame(measured.losses[["run", "step"]])
    described = ~places.isin(pd.MultiIndex.from_frame(set_aside[["run", "step"]]))
    return measured.with_losses(measured.losses[described])


# Folds: what is left out together ------------------------------------------------------------------------------------


def _by(curves: Curves, runs: Sequence[str], key: Callable[[Curves, str], object]) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for run in runs:
        groups.setdefault(key(curves, run), []).append(run)
    return groups


def _twins(curves: Curves, run: str) -> object:
    """Return a key that is equal for runs that differ only in their seed: one would inform the other."""
    record = curves.records[run]
    return record.parent, record.parent_step, str(record.replay), _schedule(curves, run)


def _schedule(curves: Curves, run: str) -> object:
    step, rate = curves.listed_rates[run]
    return tuple(step.tolist()), tuple(rate.tolist())


def _replay(curves: Curves, run: str) -> object:
    return curves.records[run].replay


def _length(curves: Curves, run: str) -> object:
    return curves.end_step(run)


def _checkpoint(curves: Curves, run: str) -> object:
    return curves.records[run].parent, curves.records[run].parent_step


QUESTIONS: Mapping[str, Callable[[Curves, str], object]] = MappingProxyType(
    {"run": _twins, "replay": _replay, "schedule": _schedule, "length": _length, "checkpoint": _checkpoint}
)
"""By value of ``leave``, the key that runs left out together have in common; ``tail`` is handled apart."""


def folds(curves: Curves, leave: str, cut: float = 0.5) -> list[Holdout]:
    """Return what `backtest` leaves out in turn: CPT runs, or PT runs if there are no CPT runs.

    Children are left out with their parents. Groups of more than half of the runs are never left out, since too few
    runs would remain for a fit.

    Parameters
    ----------
    curves, leave, cut
        See `backtest`.

    Returns
    -------
    list of Holdout
        One per fold.

    Raises
    ------
    DataError
        If ``leave`` is unknown, ``cut`` is not in (0, 1), or nothing can be left out.
    """
    runs = _candidates(curves)
    if not 0 < cut < 1:
        raise DataError(f"the share of a run that is fitted (--cut) must lie between 0 and 1, not {cut:g}")
    if leave == "tail":
        return _tails(curves, runs, cut)
    if leave not in QUESTIONS:
        kinds = (*QUESTIONS, "tail")
        raise DataError(f"unknown --leave {leave!r}{hint(leave, kinds)}; choose one of {', '.join(kinds)}")
    groups = list(_by(curves, runs, QUESTIONS[leave]).values())
    if leave == "length":  # longer runs contain the lengths of shorter ones, so the shortest are not left out
        groups.sort(key=lambda group: curves.end_step(group[0]))
        groups = groups[1:]
    measured = set(curves.losses["run"])
    families = [[*group, *_descendants(curves, group)] for group in groups]
    found = [
        Holdout(_name(group), dict.fromkeys(family, 0))
        for group, family in zip(groups, families, strict=True)
        if len(set(runs) - set(family)) >= len(runs) / 2 and measured & set(family)
    ]
    if not found:
        raise DataError(
            f"nothing to leave out by {leave}: each group has more than half of the {len(runs)} runs; choose another "
            "--leave, or add runs"
        )
    return found


def _candidates(curves: Curves) -> list[str]:
    """Return the runs that may be left out."""
    return [run for run, record in curves.records.items() if record.phase == "cpt"] or list(curves.records)


def _tails(curves: Curves, runs: Sequence[str], cut: float) -> list[Holdout]:
    return [
        Holdout(run, {run: int(np.ceil(cut * curves.end_step(run)))} | dict.fromkeys(_descendants(curves, [run]), 0))
        for run in runs
    ]


def _descendants(curves: Curves, group: Sequence[str]) -> list[str]:
    return [run for run in curves.records if run not in group and set(curves.lineage(run).ancestors) & set(group)]


def _name(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f"{group[0]} and {len(group) - 1} more"


def _untested(curves: Curves, planned: Sequence[Holdout]) -> tuple[str, ...]:
    """Return the keys of ``QUESTIONS``, other than the run itself, of which no fold leaves out all runs of a value."""
    runs = _candidates(curves)
    whole = [{run for run, first in fold.first_step.items() if first == 0} for fold in planned]
    asked = {name: key for name, key in QUESTIONS.items() if name != "run"}
    if curves.records[runs[0]].phase == "pt":
        del asked["replay"]  # pre-training has none

    def answered(key: Callable[[Curves, str], object]) -> bool:
        groups = [set(group) for group in _by(curves, runs, key).values()]
        return len(groups) > 1 and any(group <= left for group in groups for left in whole)

    return tuple(name for name, key in asked.items() if not answered(key))


def _stretch(points: pd.DataFrame) -> float:
    error = points["loss"] - points["q50"]
    half_width = np.where(error > 0, points["q95"] - points["q50"], points["q50"] - points["q05"])
    return float(np.quantile(np.abs(error) / half_width, 0.9))
