"""Data for a law: measured losses, their features, and the range to which priors refer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt._support.domain_names import OWN_ROLES, DomainNames
from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.errors import DataError
from bayes_cpt.laws.features import Design, FittedRange, design
from bayes_cpt.laws.law import Law
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.identifiability import SAME_PEAK
from bayes_cpt.runs.table_checks import MINIMUM_POINTS
from bayes_cpt.statistical_model.out_of_domain import Changes, changes

MINIMUM_RUNS = 2
"""Finished runs that a law of final losses needs."""
FITTED_BY = ("cpt-replay", "annealing", "open-checkpoint", "cpt-size", "open-size")
"""The law of the default model, and those for data that it does not describe."""
ONE_CHECKPOINT = 0.01
"""Share by which losses of one checkpoint may differ, for example if each run measured it on other texts."""


@dataclass(frozen=True)
class Observations:
    """Measured losses of the fitted domains.

    Parameters
    ----------
    domains
        The law's fitted domains, in the order of the dimension ``domain``.
    design
        Features of all points.
    places
        By domain, the indices of the design's points that were measured.
    losses
        By domain, the measured losses there, in nats.
    fitted_range
        The range of the data; its measured part is that of the points in ``places``.
    loss_scales
        By domain, the unit ``loss`` of priors, in nats.
    set_aside
        Points within the PT warm-up, which the law does not describe: columns run, step, domain, loss.
    out_of_domain
        By out-of-domain set, its measured losses, as changes, with those of pt and cpt.
    names
        Which domains are the old and the new data.
    """

    domains: tuple[str, ...]
    design: Design
    places: Mapping[str, IntArray]
    losses: Mapping[str, FloatArray]
    fitted_range: FittedRange
    loss_scales: Mapping[str, float]
    set_aside: pd.DataFrame
    out_of_domain: Mapping[str, Changes] = MappingProxyType({})
    names: DomainNames = OWN_ROLES

    @property
    def every_domain(self) -> tuple[str, ...]:
        """The law's domains, then the out-of-domain sets."""
        return (*self.domains, *self.out_of_domain)

    def scale(self, unit: str, domain: str) -> float:
        """Return a unit of priors (`bayes_cpt.statistical_model.model_files.UNITS`) in nats, steps or LR x steps."""
        return {
            "none": 1.0,
            "loss": self.loss_scales[domain],
            "steps": self.fitted_range.longest_lineage,
            "forward_area_cpt": self.fitted_range.largest_forward_area_cpt,
        }[unit]

    def only(self, kept: NDArray[np.bool_]) -> "Observations":
        """Keep the measurements at some points of the design (points,); the design and units stay as they are."""
        places = {domain: here[kept[here]] for domain, here in self.places.items()}
        return replace(
            self,
            places=places,
            losses={domain: losses[kept[self.places[domain]]] for domain, losses in self.losses.items()},
            fitted_range=_measured_range(self.fitted_range, self.design, places),
            out_of_domain={domain: found.part(kept[found.places]) for domain, found in self.out_of_domain.items()},
        )


def observe(curves: Curves, law: Law, domains: Sequence[str] | None = None) -> Observations:
    """Prepare curves for a law.

    Parameters
    ----------
    curves
        Selected runs.
    law
        The law to be fitted.
    domains
        Domains to fit; by default all that were measured: ``pt`` and ``cpt``, and out-of-domain sets if a law of
        continual pre-training (CPT) is fitted to both.

    Raises
    ------
    DataError
        If the law does not describe the data; the message says what to select or which model to use.
    """
    chosen, out_of_domain = _chosen_domains(curves, law, domains)
    check_runs(curves, law)
    losses = curves.losses[curves.losses["domain"].isin(chosen)]
    if law.is_final:
        losses = _final_losses(curves, losses)
    warmup = losses["run"].map({run: curves.lineage(run).warmup for run in losses["run"].unique()})
    set_aside, kept = losses[losses["step"] < warmup], losses[losses["step"] >= warmup]
    peak = max(curves.learning_rate(run).max() for run in curves.runs.index)
    batch_tokens = _batch_tokens(curves)
    points = design(curves, kept, peak, law.memory_kernel, batch_tokens)
    by_domain = {domain: kept[kept["domain"] == domain] for domain in chosen}
    for domain, rows in by_domain.items():
        if len(rows) < (least := MINIMUM_RUNS if law.is_final else MINIMUM_POINTS):
            raise DataError(
                f"domain {domain!r} has {len(rows)} points after warm-up; a fit needs {least} or more: "
                "select more runs, or leave it out with --domains"
            )
    combined = {domain: changes(curves, points, domain) for domain in out_of_domain}
    for domain, found in combined.items():
        if len(found.loss) < MINIMUM_POINTS:
            raise DataError(
                f"domain {domain!r} has {len(found.loss)} points in CPT at which {' and '.join(curves.names)} were "
                f"measured too, and at the checkpoint; a fit needs {MINIMUM_POINTS} or more: measure more, or choose "
                "others with --domains"
            )
    places = {domain: points.places(rows) for domain, rows in by_domain.items()}
    return Observations(
        domains=chosen,
        design=points,
        places=places,
        losses={domain: rows["loss"].to_numpy() for domain, rows in by_domain.items()},
        fitted_range=_measured_range(_range_of(curves, points, batch_tokens), points, places),
        loss_scales={
            domain: _loss_scale(curves, rows)
            for domain, rows in {**by_domain, **_by_domain(curves, out_of_domain)}.items()
        },
        set_aside=set_aside,
        out_of_domain=combined,
        names=curves.names,
    )


def what_fit_says(curves: Curves, domains: Sequence[str] | None = None) -> str:
    """Return whether `fit` takes the curves, by its default model or by another; nothing is fitted.

    Parameters
    ----------
    curves
        The runs.
    domains
        Domains to fit; None for all.

    Returns
    -------
    str
        A sentence. If the default model does not describe the curves, it says why, and what to do.

    Raises
    ------
    DataError
        If no model for whole curves describes them or their runs of the largest model: what `fit` says with the
        default model.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.what_fit_says(bc.read_curves(bc.shipped("data/checkpoints")))
    '`fit` accepts these data.'
    """
    refused: list[DataError] = []
    for name, part in product(FITTED_BY, (curves, _of_largest_model(curves))):
        try:
            observe(part, LAWS[name], domains)
        except DataError as error:
            refused.append(error)
        else:
            return f"`fit` refuses these data without options: {refused[0]}" if refused else "`fit` accepts these data."
    raise refused[0]


def _of_largest_model(curves: Curves) -> Curves:
    """Return the runs of the largest model, which a user may choose by ``--where``."""
    largest = curves.runs["model_size"].max()
    return curves if pd.isna(largest) else select(curves, f"model_size == {float(largest)!r}")


def _final_losses(curves: Curves, losses: pd.DataFrame) -> pd.DataFrame:
    """Return the last loss of each CPT run and domain."""
    of_cpt = losses[losses["run"].map(curves.runs["phase"]) == "cpt"]
    return of_cpt.loc[of_cpt.groupby(["run", "domain"])["step"].idxmax().sort_values()]


def _by_domain(curves: Curves, domains: Sequence[str]) -> dict[str, pd.DataFrame]:
    return {domain: curves.losses[curves.losses["domain"] == domain] for domain in domains}


def _chosen_domains(curves: Curves, law: Law, domains: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the law's domains and the out-of-domain sets to fit."""
    measured, names = sorted(curves.losses["domain"].unique()), curves.names
    described = [names.of(role) for role in law.domains]
    combines = law.has_shift and not law.is_final and set(names) <= set(measured)
    known = [domain for domain in described if domain in measured]
    others = [domain for domain in measured if domain not in described]
    wanted = [*known, *(others if combines else [])] if domains is None else list(dict.fromkeys(domains))
    for domain in wanted:
        if domain not in measured:
            raise DataError(f"no losses on domain {domain!r}: the data have {', '.join(measured)}")
        if domain in others and not law.has_shift:
            raise DataError(f"law {law.name!r} describes {', '.join(described)}, not the out-of-domain set {domain!r}")
        if domain in others and not set(names) <= set(wanted):
            lacking = " and ".join(name for name in names if name not in wanted)
            raise DataError(
                f"the out-of-domain set {domain!r} is a combination of {' and '.join(names)}: fit {lacking} too, or "
                "leave it out"
            )
    if not wanted:
        raise DataError(
            f"no losses on {' or '.join(described)}: the data have {', '.join(measured)}; say which of them are the "
            "old and the new data by --pt NAME and --cpt NAME, or rename them in losses.csv"
        )
    return tuple(name for name in wanted if name in described), tuple(name for name in wanted if name in others)


def check_runs(curves: Curves, law: Law) -> None:
    """Refuse runs that a law does not describe.

    Raises
    ------
    DataError
        If there are several model sizes, CPT runs for a law of pre-training (or the reverse), several replay ratios for
        a law without replay, or unknown checkpoints for a law of known ones (or the reverse).
    """
    runs = curves.runs
    cpt, sizes = runs[runs["phase"] == "cpt"], sorted(runs["model_size"].dropna().unique())
    if law.has_size and runs["model_size"].isna().any():
        run = runs.index[runs["model_size"].isna()][0]
        raise DataError(f"law {law.name!r} needs the model size of every run: give that of {run!r} in runs.csv")
    if len(sizes) > 1 and not law.has_size:
        raise DataError(
            f"law {law.name!r} has no model size, but the data have {', '.join(f'{size:g}' for size in sizes)}: "
            f'choose one, as with --where "model_size == {sizes[-1]:g}", or use -m cpt-size'
        )
    if not law.has_shift and len(cpt):
        raise DataError(f"law {law.name!r} is for pre-training alone: add --where \"phase == 'pt'\", or use cpt-replay")
    if law.has_shift and cpt.empty:
        raise DataError(f"law {law.name!r} needs CPT runs, and the data have none: use -m annealing")
    ratios = sorted(cpt["replay"].dropna().unique())
    if law.has_shift and not law.has_replay and len(ratios) > 1:
        raise DataError(
            f"law {law.name!r} has no replay, but the data have ratios {', '.join(f'{r:g}' for r in ratios)}: use "
            f'-m cpt-replay, or choose one, as with --where "replay == {ratios[0]:g}"'
        )
    lengths = sorted({curves.end_step(run) for run in cpt.index})
    if not law.has_length and len(lengths) > 1:
        raise DataError(
            f"law {law.name!r} has no length, but the CPT runs have {', '.join(f'{n:,}' for n in lengths)} steps: use "
            "-m d-cpt, or choose runs of one length with --where"
        )
    if law.is_final:
        return
    unknown = [run for run in cpt.index if not curves.lineage(run).pretraining_is_known]
    if law.knows_checkpoint and unknown:
        raise DataError(f"run {unknown[0]!r} has no parent, so its pre-training is unknown: use -m open-checkpoint")
    if not law.knows_checkpoint and len(unknown) < len(runs):
        raise DataError(
            f"law {law.name!r} is for CPT runs without a history, but the data have pre-training runs: use "
            "-m cpt-replay, or leave them and the parents of the CPT runs out of runs.csv"
        )
    if not law.knows_checkpoint:
        _check_one_checkpoint(curves)


def _check_one_checkpoint(curves: Curves) -> None:
    """Refuse pilots of an open model whose losses at step 0 show that they start from several checkpoints."""
    roots = curves.runs.loc[curves.runs["parent"].isna(), ["model_size"]]
    starts = curves.losses[curves.losses["step"] == 0].join(roots, on="run", how="inner")
    for (_, domain), rows in starts.groupby(["model_size", "domain"], dropna=False):
        losses = rows.set_index("run")["loss"]
        if losses.max() > losses.min() * (1 + ONE_CHECKPOINT):
            raise DataError(
                f"run {losses.idxmin()!r} starts at a loss of {losses.min():g} on {domain}, {losses.idxmax()!r} at "
                f"{losses.max():g} (losses.csv, step 0): an open model is of one checkpoint, so choose the runs from "
                "one with --where; if it is one, give its loss on one set of texts"
            )


def _batch_tokens(curves: Curves) -> float:
    """Return the tokens of a reference step: those of the first run with ``batch_tokens``."""
    given = curves.runs["batch_tokens"].dropna()
    return float(given.iloc[0]) if len(given) else np.nan


def _range_of(curves: Curves, points: Design, batch_tokens: float) -> FittedRange:
    """Return the range of all data, without the fields that depend on which points were measured."""
    sizes = points.features["model_size"]
    return FittedRange(
        largest_forward_area=float(points.forward_area.max()),
        largest_forward_area_cpt=float(points.features["forward_area_cpt"].max()) or 1.0,
        largest_learning_rate=points.peak,
        smallest_model_size=float(sizes.min()),
        largest_model_size=float(sizes.max()),
        batch_tokens=batch_tokens,
        longest_cpt=float(points.features["length_cpt"].max()),
        longest_lineage=max(
            float(sum(part.learning_rate.size * part.tokens for part in curves.lineage(run).segments(batch_tokens)))
            for run in curves.runs.index
        ),
    )


def _different(peaks: FloatArray) -> tuple[float, ...]:
    """Return the peaks without those that a log may give for another one."""
    ordered = np.unique(peaks)
    return tuple(ordered[np.diff(ordered, append=np.inf) > SAME_PEAK * ordered].tolist())


def _measured_range(found: FittedRange, points: Design, places: Mapping[str, IntArray]) -> FittedRange:
    measured = np.unique(np.concatenate(list(places.values())))
    of_cpt = measured[points.is_cpt[points.run[measured]]]
    area = points.forward_area[measured]
    return replace(
        found,
        smallest_measured_forward_area=float(area.min()),
        largest_measured_forward_area=float(area.max()),
        peaks_pt=_different(points.features["peak_learning_rate_pt"][measured]),
        peaks_cpt=_different(points.features["peak_learning_rate_cpt"][of_cpt]),
        replays_cpt=tuple(np.unique(points.features["replay_ratio"][of_cpt]).tolist()),
    )


def _loss_scale(curves: Curves, losses: pd.DataFrame) -> float:
    """Return the median loss at the end of PT runs; without PT runs, at the first point of CPT runs."""
    ordered = losses.sort_values("step").groupby("run")["loss"]
    is_pt = curves.runs["phase"] == "pt"
    ends = ordered.last()
    ends = ends[is_pt.reindex(ends.index)]
    return float(np.median(ends if len(ends) else ordered.first()))
