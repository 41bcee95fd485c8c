"""Out-of-domain sets: their loss is a combination of the losses on pt and cpt (Eq. 6 of Wang et al. 2025).

``L_ood = k_pt L_pt + k_cpt L_cpt`` is applied to changes in continual pre-training (CPT): the measured loss of the
checkpoint, plus the changes of pt and cpt since then times the coefficients. Each domain has its own coefficients, and
each run departs from them a little. Given the losses on pt and cpt this is a
Gaussian regression, so the law's own posterior does not depend on it. The formulas run on NumPy, with leading
dimensions for draws, and on PyTensor. docs/lab-log/laws.md has the evidence.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.laws.features import Design
from bayes_cpt.runs.curves import Curves, measured_losses
from bayes_cpt.statistical_model.discrepancy import noise_variance

COEFFICIENTS = ("k_pt", "k_cpt")
NOISE = ("out_of_domain_noise_floor", "out_of_domain_noise_learning_rate")
SCALE = "k_scale"
DEPARTURES = "effect_k"
"""Name in a posterior of the departures found on the fitted runs."""
REQUIRED = (*COEFFICIENTS, *NOISE)
"""Parameters for which a model file must give priors to describe out-of-domain sets."""
PARAMETERS = (*REQUIRED, SCALE)
"""All parameters of out-of-domain sets. Without a prior of the scale, runs do not depart from the coefficients."""


class JointMeasurements(NamedTuple):
    """Points at which pt, cpt and an out-of-domain set were all measured.

    Parameters
    ----------
    by_run
        By run (None: a checkpoint without a history), the steps in order and the losses there, (steps, 3).
    typical
        (3,) Mean over the checkpoints that CPT runs start from.
    """

    by_run: Mapping[str | None, tuple[IntArray, FloatArray]]
    typical: FloatArray


class Combination(NamedTuple):
    """How an out-of-domain set follows from pt and cpt, as fitted.

    Parameters
    ----------
    domain
        The set.
    parameters
        (draws,) By name of ``PARAMETERS``.
    departures
        By lineage of the fit and by coefficient, (draws,): its departure from the coefficients.
    known
        Points at which the set was measured.
    """

    domain: str
    parameters: Mapping[str, FloatArray]
    departures: Mapping[str, Mapping[str, FloatArray]]
    known: JointMeasurements


class Changes(NamedTuple):
    """Measured losses of an out-of-domain set in CPT, as changes since the checkpoint.

    Parameters
    ----------
    places
        (points,) Indices of the points in a design.
    loss
        (points,) Measured losses.
    level
        (points,) The loss to which changes are added.
    basis
        (2, points) Measured changes on pt and cpt.
    lineages
        All CPT runs that start at a transfer point: each departs from the coefficients, and its children likewise.
    lineage
        (points,) Index of each point's lineage.
    set_aside
        Number of points in CPT that cannot be used: pt or cpt was not measured there, or the checkpoint was not.
    """

    places: IntArray
    loss: FloatArray
    level: FloatArray
    basis: FloatArray
    lineages: tuple[str, ...]
    lineage: IntArray
    set_aside: int

    def part(self, kept: Array) -> "Changes":
        """Keep some of the points."""
        return self._replace(
            places=self.places[kept],
            loss=self.loss[kept],
            level=self.level[kept],
            basis=self.basis[:, kept],
            lineage=self.lineage[kept],
        )


def joint_measurements(curves: Curves, domain: str) -> JointMeasurements:
    """Find where pt, cpt and a domain were measured together."""
    known, names = measured_losses(curves), (*curves.names, domain)
    found: dict[str | None, dict[int, list[float]]] = {}
    for run, step, name in known:
        if name == domain and all((run, step, other) in known for other in curves.names):
            found.setdefault(run, {})[step] = [known[run, step, other] for other in names]
    ordered = {run: dict(sorted(losses.items())) for run, losses in found.items()}
    records = [curves.records[run] for run in transfer_runs(curves)]
    starts = [found[one.parent][one.parent_step] for one in records if one.parent_step in found.get(one.parent, {})]
    return JointMeasurements(
        {run: (np.array(list(losses)), np.array(list(losses.values()))) for run, losses in ordered.items()},
        np.mean(starts or [[np.nan] * len(names)], axis=0),
    )


def transfer_runs(curves: Curves) -> tuple[str, ...]:
    """Return the runs that start at a transfer point."""
    return tuple(run for run in curves.records if curves.lineage(run).transfer_run == run)


def origin(curves: Curves, lineage: str, known: JointMeasurements) -> FloatArray | None:
    """Return the losses (pt, cpt, domain) from which a CPT run's changes count, or None if there are none.

    They are those at its checkpoint; if it was not measured, those at the last measured point of its pre-training.
    """
    run, until = curves.records[lineage].parent, curves.records[lineage].parent_step
    while True:
        steps, losses = known.by_run.get(run, (np.empty(0, np.int64), np.empty((0, 3))))
        place = int(np.searchsorted(steps, until, side="right")) - 1
        if place >= 0:
            return losses[place]
        if run is None or curves.records[run].parent is None:
            return None
        run, until = curves.records[run].parent, curves.records[run].parent_step


def start_of(curves: Curves, lineage: str | None, known: JointMeasurements) -> FloatArray:
    """Return the losses from which a forecast counts changes: `origin`, else those of a typical checkpoint.

    NaN in pre-training (no lineage), where the combination is not defined.
    """
    if lineage is None:
        return np.full(len(COEFFICIENTS) + 1, np.nan)
    found = origin(curves, lineage, known)
    return known.typical if found is None else found


def departed(way: Combination, lineage: str | None, fresh: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return the parameters with a lineage's own coefficients: its departures if it was fitted, else fresh ones."""
    departures = way.departures.get(str(lineage), fresh)
    return {**way.parameters, **{name: way.parameters[name] + departures[name] for name in COEFFICIENTS}}


def changes(curves: Curves, design: Design, domain: str) -> Changes:
    """Prepare the losses of an out-of-domain set for the regression on those of pt and cpt."""
    lineages, known = transfer_runs(curves), joint_measurements(curves, domain)
    origins = {run: origin(curves, run, known) for run in lineages}
    rows = curves.losses[(curves.losses["domain"] == domain) & (curves.losses["step"] > 0)]
    ahead = rows.assign(lineage=rows["run"].map({run: curves.lineage(run).transfer_run for run in curves.records}))
    ahead = ahead[ahead["lineage"].notna()]
    levels = _beside(ahead, curves)
    levels = levels[levels["lineage"].isin([run for run, start in origins.items() if start is not None])]
    starts = np.array([origins[str(run)] for run in levels["lineage"]]).reshape(-1, len(COEFFICIENTS) + 1)
    return Changes(
        places=design.places(levels) if len(levels) else np.empty(0, np.int64),
        loss=levels["loss"].to_numpy(float),
        level=starts[:, -1],
        basis=(levels[list(curves.names)].to_numpy(float) - starts[:, :-1]).T,
        lineages=lineages,
        lineage=np.array([lineages.index(str(run)) for run in levels["lineage"]], dtype=np.int64),
        set_aside=len(ahead) - len(levels),
    )


def _beside(points: pd.DataFrame, curves: Curves) -> pd.DataFrame:
    """Add columns of the losses on pt and cpt at the same run and step; points without them are left out."""
    for name in curves.names:
        here = curves.losses.loc[curves.losses["domain"] == name, ["run", "step", "loss"]]
        points = points.merge(here.rename(columns={"loss": name}), on=["run", "step"])
    return points


def combination(parameters: Mapping[str, Array], basis: Array) -> Array:
    """Return Eq. 6 (..., points) for coefficients (...) and changes on pt and cpt (..., 2, points)."""
    return sum(parameters[name][..., None] * basis[..., index, :] for index, name in enumerate(COEFFICIENTS))


def variance(parameters: Mapping[str, Array], relative_learning_rate: Array) -> Array:
    """Return the variance (..., points) of a measured loss about the combination of measured pt and cpt."""
    floor, by_rate = (parameters[name] for name in NOISE)
    return noise_variance(relative_learning_rate, np.zeros(()), floor, by_rate, np.zeros(()))


def departure_columns(found: Changes) -> FloatArray:
    """Return the change of the loss by departures of size 1 from the coefficients, (lineages x 2, points)."""
    member = np.arange(len(found.lineages))[:, None] == found.lineage
    return (member[:, None] * found.basis).reshape(-1, len(found.loss))


def departures_by_lineage(effects: FloatArray) -> FloatArray:
    """Reshape the effects of `departure_columns` from (..., lineages x 2) to (..., lineages, 2)."""
    return effects.reshape(*effects.shape[:-1], -1, len(COEFFICIENTS))


def spread_over(places: IntArray, values: FloatArray, count: int) -> FloatArray:
    """Return values (..., points) at their indices in an array (..., count), with zeros elsewhere."""
    found = np.zeros((*values.shape[:-1], count))
    found[..., places] = values
    return found
