"""Summaries of measured runs: what they identify, and which planned runs are outside their range."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt.runs.curves import Curves, family
from bayes_cpt.runs.table_checks import listed


def curves_summary(curves: Curves) -> pd.DataFrame:
    """Summarise runs, their schedules and their measurements.

    Parameters
    ----------
    curves
        The runs.

    Returns
    -------
    DataFrame
        One row per run: phase, parent, parent_step, replay, model_size; ``steps``, ``peak_lr`` and ``final_lr`` of the
        run's own schedule; ``loss_potential``, the final LR / peak LR of its pre-training (PT), missing if PT is
        unknown; ``domains`` and number of ``points`` measured.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> table = bc.curves_summary(bc.read_curves(bc.shipped("data/microcpt")))
    >>> table.loc["cpt_m_wsd000_wsd_r025", ["replay", "steps", "loss_potential", "points"]].tolist()
    [0.25, 3000.0, 0.0, 380.0]
    """
    measured = curves.losses.groupby("run")["domain"]
    schedules = {run: curves.learning_rate(run) for run in curves.runs.index}
    return curves.runs[["phase", "parent", "parent_step", "replay", "model_size"]].assign(
        steps=[schedule.size for schedule in schedules.values()],
        peak_lr=[schedule.max() for schedule in schedules.values()],
        final_lr=[schedule[-1] for schedule in schedules.values()],
        loss_potential=[curves.lineage(run).loss_potential for run in schedules],
        domains=measured.agg(lambda names: ", ".join(sorted(names.unique()))).reindex(curves.runs.index, fill_value=""),
        points=measured.size().reindex(curves.runs.index, fill_value=0),
    )


def lineage_tree(curves: Curves) -> str:
    """Return the runs as a tree in text: one line per run, indented under its parent.

    Parameters
    ----------
    curves
        The runs.

    Returns
    -------
    str
        Lines joined by newlines.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> print(bc.lineage_tree(bc.select(curves, "run == 'cpt_m_wsd000_wsd_r025'")))
    pt_m_const
      pt_m_wsd000 (from step 6400)
        cpt_m_wsd000_wsd_r025 (from step 1600)
    """
    parents = curves.runs["parent"]

    def branch(run: str, depth: int) -> Iterator[str]:
        step = curves.runs.loc[run, "parent_step"]
        yield "  " * depth + run + (f" (from step {step})" if depth else "")
        for child in parents.index[parents == run]:
            yield from branch(str(child), depth + 1)

    roots = parents.index[parents.isna()]
    return "\n".join(line for root in roots for line in branch(str(root), 0))


SAME_PEAK = 0.01
"""Share by which peak LRs differ and count as one: a log that has not every step may miss the peak by as much."""


class Gap(NamedTuple):
    """Something that runs do not identify.

    Parameters
    ----------
    about
        What is concerned: ``pt``, ``cpt``, ``annealing_pt``, ``annealing_cpt``, ``replay``, ``history``, ``start``,
        ``loss_potential``, ``length``, ``peak``, ``joint``, ``size`` or ``domain``.
    fact
        What the runs have, or lack.
    consequence
        What is not identified therefore.
    cure
        What to do.
    otherwise
        What else can be done.
    """

    about: str
    fact: str
    consequence: str
    cure: str
    otherwise: str = ""

    @property
    def sentence(self) -> str:
        """All of it, in a sentence."""
        return f"{self.fact}: {self.consequence}; {self.cure}{self.otherwise and f', or {self.otherwise}'}."


def not_identified(curves: Curves) -> list[str]:
    """Return sentences on what these curves do not identify, each with what to do about it.

    Parameters
    ----------
    curves
        The runs.

    Returns
    -------
    list of str
        One sentence per gap; empty if there is none.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> bc.not_identified(bc.select(curves, "model_size == 332448 and replay != 0.5"))[0][:58]
    'Replay ratio never varies together with length, peak LR, l'
    """
    return [gap.sentence for gap in gaps(curves)]


def gaps(curves: Curves) -> list[Gap]:
    """Return what these curves do not identify."""
    table = curves_summary(curves)
    cpt = table[(table["phase"] == "cpt") & (table["points"] > 0)]
    without_cpt = Gap("cpt", "No CPT run has losses", "the data identify only the terms of PT", "add CPT runs")
    return [
        *_of_pre_training(curves, table),
        *(_of_replay(cpt) if len(cpt) else [without_cpt]),
        *_of_checkpoints(curves, cpt),
        *_of_range(cpt),
        *_of_joint_range(cpt),
        *_of_sizes(table),
        *_of_domains(curves.losses),
    ]


def _falls(curves: Curves, runs: pd.Index) -> bool:
    return any((np.diff(curves.learning_rate(run)) < 0).any() for run in runs)


def _of_pre_training(curves: Curves, table: pd.DataFrame) -> Iterator[Gap]:
    pt = table[table["phase"] == "pt"]
    if not pt["points"].any():
        yield Gap(
            "pt",
            "No PT run has losses",
            "only priors and CPT runs inform the terms of PT",
            "add the PT curve",
            "fit the model open-checkpoint",
        )
    for phase in ("pt", "cpt"):
        runs = table.index[table["phase"] == phase]
        if len(runs) and not _falls(curves, runs):
            yield Gap(
                f"annealing_{phase}",
                f"The LR never falls in a {phase.upper()} run",
                f"the annealing coefficient of {phase.upper()} is not identified",
                "add a run that decays",
            )


def _of_replay(cpt: pd.DataFrame) -> Iterator[Gap]:
    ratios = [f"{ratio:g}" for ratio in sorted(cpt["replay"].unique())]
    if len(ratios) == 1:
        yield Gap(
            "replay",
            f"All CPT runs have replay ratio {ratios[0]}",
            "the effect of replay is not identified",
            "add runs at two or more other ratios",
            "forecast only at this one",
        )
    if len(ratios) == 2:
        yield Gap(
            "replay",
            f"The CPT runs have two replay ratios, {' and '.join(ratios)}",
            "the form of the effect is not identified, and intervals at other ratios rest on priors",
            "add runs at a third ratio",
        )


def _of_checkpoints(curves: Curves, cpt: pd.DataFrame) -> Iterator[Gap]:
    orphans = [run for run in cpt.index if not curves.lineage(run).pretraining_is_known]
    if orphans:
        yield Gap(
            "history",
            f"No parent of {listed(orphans)}",
            "the loss potential and the forward area of PT are unknown",
            "give the PT run they go on from",
            "fit the model open-checkpoint",
        )
    started = cpt.drop(index=orphans)
    checkpoints = started[["parent", "parent_step"]].drop_duplicates()
    unstarted = [run for run in cpt.index if run not in set(curves.losses.loc[curves.losses["step"] == 0, "run"])]
    if unstarted:
        yield Gap(
            "start",
            f"No loss at step 0 in {listed(unstarted)}",
            "the loss of the checkpoint rests on the law",
            "measure the checkpoint on each domain",
        )
    potentials = started["loss_potential"].dropna().round(6).unique()
    if len(potentials) == 1:
        what = "one checkpoint" if len(checkpoints) == 1 else f"{len(checkpoints)} checkpoints"
        yield Gap(
            "loss_potential",
            f"The CPT runs go on from {what} of loss potential {potentials[0]:g}",
            "its effect is not identified",
            "add CPT runs from a checkpoint of another loss potential",
            "forecast only at this one",
        )


def _of_range(cpt: pd.DataFrame) -> Iterator[Gap]:
    settings = (("length", "steps", "length in steps", 0.0), ("peak", "peak_lr", "peak LR", SAME_PEAK))
    for about, column, label, share in settings:
        values = cpt[column].sort_values(ascending=False).to_numpy()
        if len(values) and values[-1] >= values[0] * (1 - share):
            yield Gap(
                about,
                f"All CPT runs have one {label}, {values[0]:,g}",
                "forecasts at other values extrapolate",
                "add a CPT run with another value",
                "forecast near this one",
            )


def _of_joint_range(cpt: pd.DataFrame) -> Iterator[Gap]:
    cpt = cpt.assign(peak_lr=_one_value(cpt["peak_lr"]))

    def differs(column: str) -> pd.Series:
        """Return whether a run differs from the most common value; a missing value does not."""
        return cpt[column].notna() & ~cpt[column].isin(cpt[column].mode()[:1])

    if cpt["replay"].nunique() < 2:
        return
    others = {"steps": "length", "peak_lr": "peak LR", "loss_potential": "loss potential"}
    separate = [
        label
        for column, label in others.items()
        if differs(column).any() and not (differs("replay") & differs(column)).any()
    ]
    if separate:
        yield Gap(
            "joint",
            f"Replay ratio never varies together with {listed(separate)}",
            "the data do not identify their joint effect, which rests on the form of the law",
            "add a CPT run that differs in both",
        )


def _one_value(peaks: pd.Series) -> pd.Series:
    """Replace peaks that differ by logging alone by the largest of them."""
    ordered = peaks.sort_values(ascending=False)
    group = (ordered < ordered.shift() * (1 - SAME_PEAK)).cumsum()
    return ordered.groupby(group).transform("max").reindex(peaks.index)


def _of_sizes(table: pd.DataFrame) -> Iterator[Gap]:
    sizes = table["model_size"].dropna().value_counts()
    if len(sizes) > 1:
        yield Gap(
            "size",
            f"The runs have {len(sizes)} model sizes ({listed(sorted(sizes.index))})",
            "most laws describe one",
            "fit them with -m cpt-size",
            f'choose one, for example --where "model_size == {sizes.index[0]}"',
        )


def _of_domains(losses: pd.DataFrame) -> Iterator[Gap]:
    measured = {str(domain): set(runs) for domain, runs in losses.groupby("domain")["run"]}
    for domain, runs in measured.items():
        lacking = sorted(set(losses["run"]) - runs)
        if lacking:
            yield Gap(
                "domain",
                f"Domain {domain!r} is measured in {len(runs)} runs and not in {listed(lacking)}",
                "fewer runs inform it than the other domains",
                "measure it there too",
                "leave it out with --domains",
            )


class Range(NamedTuple):
    """Settings of a run: forward area (sum of the LR), length in steps, peak LR, replay, loss potential, model size."""

    forward_area: float
    length: float
    peak_learning_rate: float
    replay_ratio: float
    loss_potential: float
    model_size: float


def beyond_data(planned: Curves, known: Curves) -> dict[str, tuple[str, ...]]:
    """Return, by planned run, the settings that are outside the range of the measured runs of its phase.

    Parameters
    ----------
    planned
        Planned runs; parents may be among ``known``.
    known
        The data.

    Returns
    -------
    dict of str to tuple of str
        Names of settings (``Range``); empty for a run within the range.
    """
    everyone = family(planned, known)
    measured: dict[str, list[Range]] = {"pt": [], "cpt": []}
    for run in known.losses["run"].unique():
        measured[known.records[run].phase].append(_range(known, run))
    bounds = {phase: _bounds(ranges) for phase, ranges in measured.items()}
    names = [str(run) for run in planned.runs.index]
    return {run: _outside(_range(everyone, run), *bounds[everyone.records[run].phase]) for run in names}


def _bounds(ranges: Sequence[Range]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = np.array(ranges, dtype=np.float64).reshape(-1, len(Range._fields))
    return np.fmin.reduce(values, axis=0, initial=np.inf), np.fmax.reduce(values, axis=0, initial=-np.inf)


def _range(curves: Curves, run: str) -> Range:
    line, record = curves.lineage(run), curves.records[run]
    return Range(
        forward_area=line.forward_area,
        length=float(line.end),
        peak_learning_rate=float(line.learning_rate.max()),
        replay_ratio=record.replay,
        loss_potential=line.loss_potential if record.phase == "cpt" else np.nan,
        model_size=record.model_size,
    )


def _outside(settings: Range, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> tuple[str, ...]:
    slack = np.full(len(Range._fields), 1e-6)
    slack[Range._fields.index("peak_learning_rate")] = SAME_PEAK
    below, above = settings < lower * (1 - slack) - 1e-12, settings > upper * (1 + slack) + 1e-12
    # the first part of a longer run is a shorter run, so only a longer one is new
    below[: Range._fields.index("length") + 1] = False
    return tuple(name.replace("_", " ") for name, out in zip(Range._fields, below | above, strict=True) if out)
