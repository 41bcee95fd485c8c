"""Loss curves of planned runs per posterior draw, without noise: law, discrepancy, and the start at the checkpoint.

Both forecasts (which draw the effects of new runs) and densities of measured losses (which integrate these effects out)
are computed from the same curves.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.forecasting.run_correlation import correlation
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import Design, design
from bayes_cpt.runs.curves import Curves, family, measured_losses
from bayes_cpt.runs.lineage import Checkpoint
from bayes_cpt.statistical_model.discrepancy import effect_dimension, effect_labels
from bayes_cpt.statistical_model.effect_draws import in_chunks, parameters_of
from bayes_cpt.statistical_model.likelihood import DomainModel, discrepancy, evaluate

ANCHOR_LENGTH = 0.03
"""Forward area, relative to the largest in CPT, over which the correction to the checkpoint's loss decays by e."""
POINTS_AT_A_TIME = 200_000
"""Maximum draws x points evaluated at a time, to limit memory."""

type Effects = dict[tuple[str, str | int, str], FloatArray]
"""By component, run or mode, and domain; arrays are (draws,)."""


class Past(NamedTuple):
    """What is known of planned runs before they start.

    Parameters
    ----------
    curves
        Planned runs and fitted ones.
    effects
        Posterior draws of the effects of fitted runs.
    checkpoints
        Measured losses, by run, step and domain.
    """

    curves: Curves
    effects: Effects
    checkpoints: Mapping[tuple[str | None, int, str], float]


class Batch(NamedTuple):
    """Planned runs that are evaluated together.

    Parameters
    ----------
    design
        Features of their points, and of the transfer points of their lineages.
    places
        By run, the indices of its points.
    starts
        By run, the index of its transfer point.
    checkpoints
        By run, what its CPT starts from; None without CPT.
    """

    design: Design
    places: list[IntArray]
    starts: IntArray
    checkpoints: list[Checkpoint | None]


class RunPath(NamedTuple):
    """Draws of one run without noise (draws, steps) and at its start (draws,), and the variance of the noise."""

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
        (draws, points) Mean: law and effects of fitted runs. Variance: noise.
    columns
        (draws, effects, points) Change of the loss by one standard deviation of each effect of new runs.
    components, scales
        By effect, its component; by component, the standard deviation (draws,) of its effects.
    """

    points: pd.DataFrame
    mean: FloatArray
    variance: FloatArray
    columns: FloatArray
    components: tuple[str, ...]
    scales: Mapping[str, FloatArray]


def past(fit: Fit, planned: Curves) -> Past:
    """Return planned runs and their ancestors, with the fitted effects and the measured losses of checkpoints."""
    # a law of final losses describes no curve, so there is no start to correct
    checkpoints = {} if fit.spec.law.is_final else measured_losses(fit.curves)
    return Past(family(planned, fit.curves), _found_effects(fit), checkpoints)


def batch(fit: Fit, curves: Curves, steps: Mapping[str, Sequence[int] | IntArray]) -> Batch:
    """Compute the features of planned runs at some steps; ``curves`` has their lineages."""
    fitted_range = next(iter(fit.models.values())).fitted_range
    lines = [curves.lineage(run) for run in steps]
    starts = pd.DataFrame({"run": [line.transfer_run or line.runs[-1] for line in lines], "step": 0})
    counts = [len(wanted) for wanted in steps.values()]
    points = pd.DataFrame({"run": np.repeat([*steps], counts), "step": np.concatenate([*steps.values()])})
    evaluated = design(
        curves,
        pd.concat([points, starts]),
        fitted_range.largest_learning_rate,
        fit.spec.law.memory_kernel,
        fitted_range.batch_tokens,
    )
    places = np.split(evaluated.places(points), np.cumsum(counts)[:-1])
    return Batch(evaluated, places, evaluated.places(starts), [line.transfer_checkpoint for line in lines])


def paths(
    model: DomainModel,
    together: Batch,
    parameters: Mapping[str, FloatArray],
    effects: Mapping[str, FloatArray],
    checkpoints: Mapping[tuple[str | None, int, str], float],
) -> list[RunPath]:
    """Return draws of each run of a batch on one domain, corrected to the measured loss of its checkpoint."""
    values, noise = _losses(model, together.design, parameters, effects)
    length = ANCHOR_LENGTH * model.fitted_range.largest_forward_area_cpt
    fading = np.exp(-together.design.features["forward_area_cpt"] / length)
    found = []
    for places, start, checkpoint in zip(together.places, together.starts, together.checkpoints, strict=True):
        level = checkpoints.get((checkpoint.run, checkpoint.step, model.domain)) if checkpoint else None
        moved, at_start = _from_checkpoint(values[:, places], values[:, start], level, fading[places])
        found.append(RunPath(moved, at_start, noise[:, places]))
    return found


def effects_on(
    fit: Fit, design: Design, domain: str, known: Effects, new: Callable[[str, str | int], FloatArray]
) -> dict[str, FloatArray]:
    """Return effects (draws, effects) by component: of fitted runs from the posterior, of new runs from ``new``."""
    return {
        name: np.stack(
            [
                known[name, label, domain] if (name, label, domain) in known else new(name, label)
                for label in effect_labels(name, design)
            ],
            axis=1,
        )
        for name in fit.spec.components
        if effect_labels(name, design)
    }


def conditional(fit: Fit, measured: Curves) -> dict[str, Conditional]:
    """Return, by domain, the distribution of measured losses of new runs given each posterior draw.

    `bayes_cpt.forecast` draws from the same distribution.

    Parameters
    ----------
    fit
        The fit.
    measured
        Runs with their LR, and losses that were not fitted.
    """
    known = past(fit, measured)
    measured_on = set(measured.losses["domain"])
    return {domain: _conditional(fit, known, measured, domain) for domain in fit.domains if domain in measured_on}


def _conditional(fit: Fit, known: Past, measured: Curves, domain: str) -> Conditional:
    points = measured.losses[measured.losses["domain"] == domain].sort_values(["run", "step"], ignore_index=True)
    model, parameters = fit.models[domain], parameters_of(fit.posterior, domain)
    steps = {str(run): rows["step"].to_numpy() for run, rows in points.groupby("run")}
    together = batch(fit, known.curves, steps)

    def with_effects(*present: tuple[str, str | int]) -> tuple[FloatArray, FloatArray]:
        def size(component: str, label: str | int) -> FloatArray:
            return parameters[f"{component}_scale"] * float((component, label) in present)

        effects = effects_on(fit, together.design, domain, known.effects, size)
        drawn = paths(model, together, parameters, effects, known.checkpoints)
        loss, noise = ([getattr(path, name) for path in drawn] for name in ("loss", "noise_variance"))
        return np.concatenate(loss, axis=1), np.concatenate(noise, axis=1)

    mean, variance = with_effects()
    labels = [(name, label) for name in fit.spec.components for label in effect_labels(name, together.design)]
    new = [key for key in labels if (*key, domain) not in known.effects]
    # the loss is linear in the effects, so the contribution of one is a difference
    alone = np.reshape([with_effects(effect)[0] - mean for effect in new], (len(new), *mean.shape))
    # transform to independent effects
    columns = np.tensordot(np.linalg.cholesky(correlation(known.curves, new)).T, alone, axes=1)
    names = tuple(name for name, _label in new)
    scales = {name: parameters[f"{name}_scale"] for name in names}
    return Conditional(points, mean, variance, columns.swapaxes(0, 1), names, scales)


def _from_checkpoint(
    values: FloatArray, at_start: FloatArray, level: float | None, fading: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Shift curves to the measured loss of their checkpoint, if there is one; return them and their start.

    The shift decays with forward area, since the checkpoint's residual is hardly informative about later losses.
    """
    if level is None:
        return values, at_start
    return values + (level - at_start)[:, None] * fading, np.full_like(at_start, level)


def _losses(
    model: DomainModel, design: Design, parameters: Mapping[str, FloatArray], effects: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return law + discrepancy, and the noise variance, (draws, points) each."""
    size = max(1, POINTS_AT_A_TIME // len(design.run))
    losses, noise = [], []
    for piece, here in zip(
        in_chunks(parameters, size), in_chunks({"": next(iter(parameters.values())), **effects}, size), strict=True
    ):
        evaluation = evaluate(model, design, piece)
        losses.append(evaluation.law + discrepancy(evaluation, {name: here[name] for name in effects}))
        noise.append(evaluation.noise_variance)
    return np.concatenate(losses), np.concatenate(noise)


def _found_effects(fit: Fit) -> Effects:
    """Return posterior draws of the effects of fitted runs; runs left out count as new."""
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
