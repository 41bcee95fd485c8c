"""Is a model to be trusted on these data? Leave runs out, forecast them, and score the forecasts."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

import numpy as np
import pandas as pd

from bayes_cpt.errors import DataError, hint
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import REFIT, SamplerOptions, SamplerSettings
from bayes_cpt.runs.curves import Curves, measured_steps
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.model_files import DEFAULT_MODEL, ModelSpec

FAR = {"cover50": 0.15, "cover90": 0.1}
"""By how much the coverage of intervals may miss its nominal level for them to be trusted."""


@dataclass(frozen=True)
class Backtest:
    """Forecasts of runs that were left out, scored.

    Parameters
    ----------
    leave
        What was left out at a time: a key of ``QUESTIONS``.
    points
        One row per measured point, as `bayes_cpt.evaluation.scores.score_draws` gives, with the fold and whether its
        fit converged.
    folds
        How many there were to do; ``points`` has fewer if it was interrupted.
    kept
        Runs that were never left out: more than half of the runs would have gone with them.
    """

    leave: str
    points: pd.DataFrame
    folds: int
    kept: tuple[str, ...] = ()

    @property
    def table(self) -> pd.DataFrame:
        """Scores by fold, run and domain: mae, rmse, wis, crps, cover50, cover80, cover90, width90, stretch.

        ``stretch`` is the factor on the 90 % intervals with which they would have held 90 % of the points.
        """
        by = ["fold", "run", "domain", "converged"]
        stretch = self.points.groupby(by, sort=False)[["loss", "q05", "q50", "q95"]].apply(_stretch)
        scores = averaged(self.points, by).assign(stretch=stretch).reset_index()
        return scores.assign(leave=self.leave, folds=self.folds)


def backtest(
    curves: Curves,
    model: str | Path | ModelSpec = DEFAULT_MODEL,
    *,
    leave: str = "run",
    domains: Sequence[str] | None = None,
    cut: float = 0.5,
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
    **sampler: Unpack[SamplerOptions],
) -> Backtest:
    """Leave runs out in turn, fit the others, forecast those left out, and score.

    The model is compiled once. Scales of priors are those of all the curves.

    Parameters
    ----------
    curves, model, domains
        As of `bayes_cpt.inference.fit.fit`.
    leave
        A key of ``QUESTIONS``.
    cut
        With ``leave="tail"``: the share of its steps that a run has shown.
    done
        Called after each fold with its name, how many are done, and how many there are.
    **sampler
        As of `bayes_cpt.inference.fit.fit`; by default fewer draws than a fit for use needs.

    Returns
    -------
    Backtest
        If interrupted, of the folds that were done.

    Raises
    ------
    DataError
        If ``leave`` is unknown, or nothing can be left out of these curves.
    KeyboardInterrupt
        If interrupted before any fold was done.
    """
    prepared, settings = prepare(curves, model, domains=domains), replace(REFIT, **sampler)
    planned = folds(prepared.curves, leave, cut)
    scored = in_turn({fold.name: partial(_scored_fold, prepared, fold, settings) for fold in planned}, done)
    asked = {run for fold in planned for run in fold.first_step}
    kept = tuple(run for run in _candidates(prepared.curves) if run not in asked)
    ordered = [scored[fold.name] for fold in planned if fold.name in scored]
    return Backtest(leave, pd.concat(ordered, ignore_index=True), len(planned), kept)


def in_turn[K, T](jobs: Mapping[K, Callable[[], T]], done: Callable[[K, int, int], None]) -> dict[K, T]:
    """Do jobs, as many at a time as there are cores for; if interrupted, return those that are done.

    Parameters
    ----------
    jobs
        By name; each samples as many chains as ``REFIT``.
    done
        Called after each with its name, how many are done, and how many there are.

    Raises
    ------
    KeyboardInterrupt
        If interrupted before any was done.
    """
    results: dict[K, T] = {}
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // REFIT.chains)) as pool:
        running: dict[Future[T], K] = {pool.submit(job): name for name, job in jobs.items()}
        try:
            for future in as_completed(running):
                results[running[future]] = future.result()
                done(running[future], len(results), len(jobs))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            if not results:
                raise
    return results


def _scored_fold(prepared: Prepared, fold: Holdout, settings: SamplerSettings) -> pd.DataFrame:
    fitted = fit_prepared(prepared, settings, fold)
    measured = unseen(prepared, fold)
    steps = measured_steps(measured)
    points = score_draws(forecast(fitted, measured, steps=steps, seed=settings.seed), measured.losses)
    return points.assign(fold=fold.name, converged=fitted.converged)


def unseen(prepared: Prepared, fold: Holdout) -> Curves:
    """Return the runs left out, with the losses to forecast: those that a fit would use."""
    measured, aside = fold.unseen(prepared.curves), prepared.observations.set_aside
    places = pd.MultiIndex.from_frame(measured.losses[["run", "step"]])
    described = ~places.isin(pd.MultiIndex.from_frame(aside[["run", "step"]]))
    return measured.with_losses(measured.losses[described])


# What is left out together --------------------------------------------------------------------------------------------


def _by(curves: Curves, runs: Sequence[str], key: Callable[[Curves, str], object]) -> dict[object, list[str]]:
    groups: dict[object, list[str]] = {}
    for run in runs:
        groups.setdefault(key(curves, run), []).append(run)
    return groups


def _twins(curves: Curves, run: str) -> object:
    """Equal for runs that differ in seed alone: one would tell of the other."""
    link = curves.records[run]
    return link.parent, link.parent_step, str(link.replay), _schedule(curves, run)


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
"""What runs that are left out together have in common; ``tail`` leaves the end of each run out instead."""


def folds(curves: Curves, leave: str, cut: float = 0.5) -> list[Holdout]:
    """Return what `backtest` leaves out in turn: CPT runs; of data without, PT runs. Children go with their parents.

    What more than half of the runs have in common stays: a fit to the few others would tell nothing of the model.

    Raises
    ------
    DataError
        If ``leave`` is unknown, ``cut`` is no share, or nothing would be left to fit.
    """
    runs = _candidates(curves)
    if leave == "tail":
        return _tails(curves, runs, cut)
    if leave not in QUESTIONS:
        kinds = (*QUESTIONS, "tail")
        raise DataError(f"cannot leave out by {leave!r}{hint(leave, kinds)}: choose one of {', '.join(kinds)}")
    groups = list(_by(curves, runs, QUESTIONS[leave]).values())
    if leave == "length":  # a short run asks nothing new of longer ones
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
        raise DataError(f"nothing to leave out by {leave}: more than half of the {len(runs)} runs would go at once")
    return found


def _candidates(curves: Curves) -> list[str]:
    """Return the runs that may be left out."""
    return [run for run, link in curves.records.items() if link.phase == "cpt"] or list(curves.records)


def _tails(curves: Curves, runs: Sequence[str], cut: float) -> list[Holdout]:
    if not 0 < cut < 1:
        raise DataError(f"the share of a run that is shown must lie between 0 and 1, not {cut:g}")
    return [
        Holdout(run, {run: int(np.ceil(cut * curves.end_step(run)))} | dict.fromkeys(_descendants(curves, [run]), 0))
        for run in runs
    ]


def _descendants(curves: Curves, group: Sequence[str]) -> list[str]:
    return [run for run in curves.records if run not in group and set(curves.lineage(run).ancestors) & set(group)]


def _name(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f"{group[0]} and {len(group) - 1} more"


# In words ------------------------------------------------------------------------------------------------------------


def verdict(table: pd.DataFrame) -> str:
    """Say, by domain, whether intervals can be trusted for this kind of question, and by how much they are off.

    Parameters
    ----------
    table
        Of a `Backtest`, or as `read_scores` reads it.
    """
    leave, folds = str(table["leave"].iloc[0]), int(table["folds"].iloc[0])
    said = [_said(str(domain), rows) for domain, rows in table.groupby("domain", sort=False)]
    kind = {"run": "unseen runs", "tail": "runs of which the rest was unseen"}.get(leave, f"runs of an unseen {leave}")
    by_fold = table.drop_duplicates("fold")
    doubts, done = int((~by_fold["converged"]).sum()), len(by_fold)
    notes = [f"{doubts} of the {done} fits did not converge: sample longer"] if doubts else []
    notes += [f"interrupted after {done} of {folds} folds"] if done < folds else []
    return "; ".join([f"Backtest on {table['run'].nunique()} {kind}: " + "; ".join(said), *notes])


def means(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores by domain; each run counts once, however many points it has."""
    return table.drop(columns=["fold", "run", "converged", "leave", "folds"]).groupby("domain", sort=False).mean()


def _said(domain: str, table: pd.DataFrame) -> str:
    scores, worst = means(table).iloc[0], table.sort_values("cover90").iloc[0]
    half, most, stretch = (float(scores[name]) for name in ("cover50", "cover90", "stretch"))
    if abs(most - 0.9) <= FAR["cover90"] and abs(half - 0.5) <= FAR["cover50"]:
        judged = "can be trusted"
    elif half + most < 0.5 + 0.9:
        judged = "are too narrow" + (f" (they would need {stretch:.1f} times the width)" if stretch >= 1.05 else "")
    else:
        judged = "are too wide" + (f" ({stretch:.1f} times the width would do)" if stretch < 0.95 else "")
    # runs held too well and too badly make a fair mean
    least = f" (of {worst['run']} only {worst['cover90']:.0%})" if worst["cover90"] < most - FAR["cover90"] else ""
    return (
        f"{domain}: 90 % intervals hold {most:.0%}{least} and 50 % intervals {half:.0%}, mean absolute error "
        f"{scores['mae']:.4f}: intervals {judged}"
    )


def _stretch(points: pd.DataFrame) -> float:
    off = points["loss"] - points["q50"]
    reach = np.where(off > 0, points["q95"] - points["q50"], points["q50"] - points["q05"])
    return float(np.quantile(np.abs(off) / reach, 0.9))


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read the table that `bayes-cpt backtest` wrote.

    Raises
    ------
    DataError
        If the file is not there or is another table.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    needed = {"fold", "run", "domain", "converged", "leave", "folds", "mae", "cover50", "cover90", "stretch"}
    missing = sorted(needed - set(table))
    if missing or table.empty:
        raise DataError(f"{path} is not a table of bayes-cpt backtest: {', '.join(missing) or 'rows'} missing")
    return table
