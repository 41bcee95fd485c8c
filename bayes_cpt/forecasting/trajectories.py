"""Curves of planned runs given the posterior's draws, before noise: law, discrepancy, and a start at the checkpoint.

What is forecast (draws of new runs' effects) and how probable measured losses are under it (those effects integrated
out) are read off the same paths.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.forecasting.run_correlation import correlation
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import Design, design
from bayes_cpt.runs.curves import Curves, measured_losses
from bayes_cpt.runs.lineage import Checkpoint
from bayes_cpt.runs.plans import family
from bayes_cpt.statistical_model.discrepancy import effect_dimension, effect_labels
from bayes_cpt.statistical_model.effects import in_chunks, parameters_of
from bayes_cpt.statistical_model.likelihood import DomainModel, discrepancy, evaluate

ANCHOR_LENGTH = 0.03
"""Forward area, as a share of the largest in CPT, over which the measured loss of the checkpoint is remembered."""
POINTS_AT_A_TIME = 200_000
"""Draws x points worked on at a time, to bound memory."""

type Effects = dict[tuple[str, str | int, str], FloatArray]
"""By component, run or mode, and domain: (draws,) each."""


class Past(NamedTuple):
    """What is known when runs are planned.

    Parameters
    ----------
    curves
        Planned runs and fitted ones.
    effects
        Those found on the fitted runs.
    checkpoints
        Measured losses by run, step and domain.
    """

    curves: Curves
    effects: Effects
    checkpoints: Mapping[tuple[str | None, int, str], float]


class Batch(NamedTuple):
    """Planned runs that are worked on together.

    Parameters
    ----------
    static
        Features of their points, and of the transfer points of their lineages.
    places
        By run, the indices of the steps wanted among the points.
    starts
        By run, the index of its transfer point.
    checkpoints
        By run, what its CPT starts from; None without CPT.
    """

    static: Design
    places: list[IntArray]
    starts: IntArray
    checkpoints: list[Checkpoint | None]


class RunPath(NamedTuple):
    """Draws of one run without noise (draws, steps), at its start (draws,), and the variance of the noise."""

    loss: FloatArray
    at_start: FloatArray
    noise_variance: FloatArray


class Conditional(NamedTuple):
    """Given each draw, measured losses are Normal(mean, diag(variance) + columns^T columns).

    Parameters
    ----------
    points
        Columns run, step, domain, loss.
    mean, variance
        (draws, points) Law and effects of fitted runs; noise.
    columns
        (draws, effects, points) What effects of new runs do, at one standard deviation.
    """

    points: pd.DataFrame
    mean: FloatArray
    variance: FloatArray
    columns: FloatArray


def past(fit: Fit, planned: Curves) -> Past:
    """Return what a fit knows of planned runs and those that they go on from."""
    # a law of final losses describes no path, so there is none to start at the checkpoint
    checkpoints = {} if fit.spec.law.is_final else measured_losses(fit.curves)
    return Past(family(planned, fit.curves), _found_effects(fit), checkpoints)


def batch(fit: Fit, curves: Curves, steps: Mapping[str, Sequence[int] | IntArray]) -> Batch:
    """Prepare planned runs at the steps wanted; ``curves`` holds their lineages."""
    fitted_range = next(iter(fit.models.values())).fitted_range
    lines = [curves.lineage(run) for run in steps]
    starts = pd.DataFrame({"run": [line.transfer_run or line.runs[-1] for line in lines], "step": 0})
    counts = [len(wanted) for wanted in steps.values()]
    points = pd.DataFrame({"run": np.repeat([*steps], counts), "step": np.concatenate([*steps.values()])})
    static = design(
        curves,
        pd.concat([points, starts]),
        fitted_range.largest_learning_rate,
        fit.spec.law.memory_kernel,
        fitted_range.batch_tokens,
    )
    places = np.split(static.places(points), np.cumsum(counts)[:-1])
    return Batch(static, places, static.places(starts), [line.transfer_checkpoint for line in lines])


def paths(
    model: DomainModel,
    together: Batch,
    parameters: Mapping[str, FloatArray],
    effects: Mapping[str, FloatArray],
    checkpoints: Mapping[tuple[str | None, int, str], float],
) -> list[RunPath]:
    """Return draws of each run of a batch on one domain, given parameters and effects, moved to its checkpoint."""
    values, noise = _losses(model, together.static, parameters, effects)
    length = ANCHOR_LENGTH * model.fitted_range.largest_forward_area_cpt
    fading = np.exp(-together.static.features["forward_area_cpt"] / length)
    found = []
    for places, start, checkpoint in zip(together.places, together.starts, together.checkpoints, strict=True):
        level = checkpoints.get((checkpoint.run, checkpoint.step, model.domain)) if checkpoint else None
        moved, at_start = _from_checkpoint(values[:, places], values[:, start], level, fading[places])
        found.append(RunPath(moved, at_start, noise[:, places]))
    return found


def effects_on(
    fit: Fit, static: Design, domain: str, known: Effects, new: Callable[[str, str | int], FloatArray]
) -> dict[str, FloatArray]:
    """Return effects (draws, effects) by component: those found on fitted runs; of new runs what ``new`` gives."""
    return {
        name: np.stack(
            [
                known[name, label, domain] if (name, label, domain) in known else new(name, label)
                for label in effect_labels(name, static)
            ],
            axis=1,
        )
        for name in fit.spec.components
        if effect_labels(name, static)
    }


def conditional(fit: Fit, measured: Curves) -> dict[str, Conditional]:
    """Return, by domain, how measured losses of new runs are distributed given each of the posterior's draws.

    It is the distribution that `bayes_cpt.forecasting.forecast.forecast` draws from.

    Parameters
    ----------
    fit
        The fit.
    measured
        Runs, their LRs, and losses that the fit has not seen.
    """
    seen = past(fit, measured)
    measured_on = set(measured.losses["domain"])
    return {domain: _conditional(fit, seen, measured, domain) for domain in fit.domains if domain in measured_on}


def _conditional(fit: Fit, seen: Past, measured: Curves, domain: str) -> Conditional:
    points = measured.losses[measured.losses["domain"] == domain].sort_values(["run", "step"], ignore_index=True)
    model, parameters = fit.models[domain], parameters_of(fit.posterior, domain)
    steps = {str(run): rows["step"].to_numpy() for run, rows in points.groupby("run")}
    together = batch(fit, seen.curves, steps)

    def with_effects(*present: tuple[str, str | int]) -> tuple[FloatArray, FloatArray]:
        def size(component: str, label: str | int) -> FloatArray:
            return parameters[f"{component}_scale"] * float((component, label) in present)

        effects = effects_on(fit, together.static, domain, seen.effects, size)
        drawn = paths(model, together, parameters, effects, seen.checkpoints)
        loss, noise = ([getattr(path, name) for path in drawn] for name in ("loss", "noise_variance"))
        return np.concatenate(loss, axis=1), np.concatenate(noise, axis=1)

    mean, variance = with_effects()
    labels = [(name, label) for name in fit.spec.components for label in effect_labels(name, together.static)]
    new = [key for key in labels if (*key, domain) not in seen.effects]
    # a path is linear in the effects: what one does is the difference that it makes
    alone = np.reshape([with_effects(effect)[0] - mean for effect in new], (len(new), *mean.shape))
    # in terms of independent effects
    columns = np.tensordot(np.linalg.cholesky(correlation(seen.curves, new)).T, alone, axes=1)
    return Conditional(points, mean, variance, columns.swapaxes(0, 1))


def _from_checkpoint(
    values: FloatArray, at_start: FloatArray, level: float | None, fading: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Move paths to the measured level of their checkpoint, if there is one; return them and the start.

    The move fades with forward area: the checkpoint's departure from the law tells little of a run's later course.
    """
    if level is None:
        return values, at_start
    return values + (level - at_start)[:, None] * fading, np.full_like(at_start, level)


def _losses(
    model: DomainModel, static: Design, parameters: Mapping[str, FloatArray], effects: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return law + discrepancy, and the noise variance, (draws, points) each."""
    size = max(1, POINTS_AT_A_TIME // len(static.run))
    losses, noise = [], []
    for piece, here in zip(
        in_chunks(parameters, size), in_chunks({"": next(iter(parameters.values())), **effects}, size), strict=True
    ):
        evaluation = evaluate(model, static, piece)
        losses.append(evaluation.law + discrepancy(evaluation, {name: here[name] for name in effects}))
        noise.append(evaluation.noise_variance)
    return np.concatenate(losses), np.concatenate(noise)


def _found_effects(fit: Fit) -> Effects:
    """Return the effects found on the fitted runs: those of runs that were left out are as unknown as of new ones."""
    found: Effects = {}
    for component in fit.spec.components:
        effects = fit.posterior.get(f"effect_{component}")
        if effects is None:
            continue
        values = effects.transpose("domain", effect_dimension(component), "chain", "draw").to_numpy()
        for domain, by_label in zip(effects["domain"].to_numpy().tolist(), values, strict=True):
            labels = effects[effect_dimension(component)].to_numpy().tolist()
            found |= {
                (component, label, domain): draws.ravel()
                for label, draws in zip(labels, by_label, strict=True)
                if isinstance(label, int) or label in fit.curves.runs.index
            }
    return found
