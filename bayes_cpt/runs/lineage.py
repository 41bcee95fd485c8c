"""The lineage of a run: its ancestors, their schedules, and the two phases of training that they add up to.

A run may branch from another run at one of its steps, that one from a third, and so on, back to a run from scratch or
to a checkpoint whose pre-training is not known. Laws compute all features of a run from its lineage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.errors import DataError

PHASES = ("pt", "cpt")


class RunRecord(NamedTuple):
    """A row of ``runs.csv``; ``parent_step`` is 0 without a parent, other missing numbers are NaN."""

    phase: Literal["pt", "cpt"]
    parent: str | None
    parent_step: int
    replay: float
    model_size: float
    batch_tokens: float


class Checkpoint(NamedTuple):
    """The saved model from which a run starts: a run and its step. The run is None if its pre-training is not known."""

    run: str | None
    step: int


class Segment(NamedTuple):
    """One run's part of a lineage.

    Parameters
    ----------
    phase
        ``pt`` or ``cpt``.
    learning_rate
        (steps,) The learning rate (LR) used at each of its steps.
    tokens
        Tokens per step, relative to a reference step. Areas are sums over tokens, so a step of twice the batch counts
        as two.
    """

    phase: Literal["pt", "cpt"]
    learning_rate: FloatArray
    tokens: float = 1.0


class Phase(NamedTuple):
    """One phase of a lineage; arrays are (steps,)."""

    learning_rate: FloatArray
    tokens: FloatArray
    """Tokens of the step, relative to a reference step."""
    drop: FloatArray
    """Decrease of the LR with this step, negative where it rose; 0 in the PT warm-up."""
    warmup: int
    """Number of steps of the PT warm-up; 0 in CPT."""


@dataclass(frozen=True, eq=False)
class Lineage:
    """A run and its ancestors; made and cached by `bayes_cpt.runs.curves.Curves.lineage`.

    Parameters
    ----------
    runs
        Names, oldest first; the run itself is the last.
    records
        Row of ``runs.csv`` of each run.
    rates
        LR of every step of each run. Ancestors end where the next run branches off.
    """

    runs: tuple[str, ...]
    records: tuple[RunRecord, ...]
    rates: tuple[FloatArray, ...]

    @property
    def ancestors(self) -> tuple[str, ...]:
        """Names of the ancestors, oldest first."""
        return self.runs[:-1]

    @property
    def learning_rate(self) -> FloatArray:
        """LR of every step of the run itself, (steps,)."""
        return self.rates[-1]

    @property
    def end(self) -> int:
        """Last step of the run."""
        return self.rates[-1].size

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint from which the run starts."""
        return _checkpoint(self.records[-1])

    @property
    def transfer_run(self) -> str | None:
        """The first CPT run of the lineage, which starts at the transfer point; None in pre-training."""
        return self.runs[self._transfer] if self._transfer < len(self.runs) else None

    @property
    def transfer_checkpoint(self) -> Checkpoint | None:
        """The checkpoint that CPT starts from; None in pre-training."""
        return _checkpoint(self.records[self._transfer]) if self.transfer_run else None

    @property
    def pretraining_is_known(self) -> bool:
        """Whether the lineage goes back to a run from scratch."""
        return self.records[0].phase == "pt"

    @property
    def warmup(self) -> int:
        """Number of steps of the PT warm-up if the run is from scratch; else 0."""
        from_scratch = len(self.runs) == 1 and self.records[-1].phase == "pt"
        return warmup_of(self.learning_rate) if from_scratch else 0

    @property
    def loss_potential(self) -> float:
        """Final LR / peak LR of the pre-training; NaN if it is not known."""
        rates = [rate for rate in self._rates_of("pt") if rate.size]
        peak = max((rate.max() for rate in rates), default=0.0)
        return float(rates[-1][-1] / peak) if peak > 0 else np.nan

    @cached_property
    def forward_area(self) -> float:
        """Sum of the LR over all steps of the lineage."""
        return float(sum(rate.sum() for rate in self.rates))

    def segments(self, batch_tokens: float = np.nan) -> list[Segment]:
        """Return the parts of the lineage that have steps, oldest first.

        Parameters
        ----------
        batch_tokens
            Tokens of a reference step; runs without ``batch_tokens`` are assumed to have as many.
        """
        return [
            Segment(record.phase, rate, _relative_tokens(record, batch_tokens))
            for record, rate in zip(self.records, self.rates, strict=True)
            if rate.size
        ]

    def _rates_of(self, phase: str) -> list[FloatArray]:
        return [rate for record, rate in zip(self.records, self.rates, strict=True) if record.phase == phase]

    @cached_property
    def _transfer(self) -> int:
        """Index of the first CPT run of the lineage; the number of runs if there is none."""
        return next((place for place, record in enumerate(self.records) if record.phase == "cpt"), len(self.runs))


def _checkpoint(record: RunRecord) -> Checkpoint:
    return Checkpoint(record.parent, record.parent_step)


def _relative_tokens(record: RunRecord, batch_tokens: float) -> float:
    ratio = record.batch_tokens / batch_tokens
    return ratio if np.isfinite(ratio) else 1.0


def phases_of(segments: Sequence[Segment]) -> tuple[Phase, Phase]:
    """Return pre-training (PT) and continual pre-training (CPT) of a lineage.

    The warm-up of PT is not annealing: ``drop`` is 0 there. The first ``drop`` of CPT is the jump from the last LR of
    PT to the first of CPT, or 0 if the lineage has no PT.

    Parameters
    ----------
    segments
        The lineage, oldest first.

    Returns
    -------
    tuple of Phase
        PT and CPT; each may have no steps.

    Raises
    ------
    DataError
        If the lineage is empty, has PT after CPT, or has an LR that is negative or not finite.
    """
    if not segments:
        raise DataError("The lineage is empty; it must have at least one run.")
    if ("cpt", "pt") in pairwise(segment.phase for segment in segments):
        raise DataError(
            "The lineage has pre-training (pt) after continual pre-training (cpt); a child of a cpt run must be cpt."
        )
    for phase, rates, _tokens in segments:
        faulty = rates[~((rates >= 0) & (rates < np.inf))]
        if faulty.size:
            raise DataError(f"A learning rate in the {phase} phase is {faulty[0]}; it must be finite and at least 0.")
    (pt_rates, pt_tokens), (cpt_rates, cpt_tokens) = (_joined(segments, phase) for phase in PHASES)
    if not pt_rates.size + cpt_rates.size:
        raise DataError("The lineage has no steps; it needs at least one.")
    before = pt_rates[-1:] if pt_rates.size else cpt_rates[:1]
    warmup, pt_drop = warmup_of(pt_rates), _drop(pt_rates, pt_rates[:1])
    pt_drop[:warmup] = 0.0
    return Phase(pt_rates, pt_tokens, pt_drop, warmup), Phase(cpt_rates, cpt_tokens, _drop(cpt_rates, before), 0)


def steps_done(segments: Sequence[Segment], steps: IntArray) -> tuple[IntArray, IntArray]:
    """Return the numbers of PT and of CPT steps done at given steps of the last segment, each (steps,)."""
    of_phase = {phase: sum(part.learning_rate.size for part in segments if part.phase == phase) for phase in PHASES}
    done = steps + sum(of_phase.values()) - segments[-1].learning_rate.size
    in_pt = np.minimum(done, of_phase["pt"])
    return in_pt, done - in_pt


def warmup_of(learning_rate: FloatArray) -> int:
    """Return the number of warm-up steps: the first steps, as long as the LR strictly increases."""
    return int(np.argmin(np.append(np.diff(learning_rate) > 0, False))) + 1 if learning_rate.size else 0


def _drop(learning_rate: FloatArray, before: FloatArray) -> FloatArray:
    """Return the decrease of the LR with each step; ``before``, (1,), is the LR before the first step."""
    return -np.diff(learning_rate, prepend=before) if learning_rate.size else np.empty(0)


def _joined(segments: Sequence[Segment], phase: str) -> tuple[FloatArray, FloatArray]:
    """Return LR and tokens of every step of a phase."""
    parts = [segment for segment in segments if segment.phase == phase]
    rates = [part.learning_rate for part in parts]
    tokens = [np.full(part.learning_rate.size, part.tokens) for part in parts]
    return np.concatenate([np.empty(0), *rates]), np.concatenate([np.empty(0), *tokens])
