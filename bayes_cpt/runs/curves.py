"""Loss curves: runs with their learning rates and losses, subsets of them, and lineages."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from bayes_cpt._support.conditions import matching
from bayes_cpt._support.domain_names import OWN_ROLES, DomainNames
from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.errors import DataError, hint, quoted
from bayes_cpt.runs.lineage import Lineage, RunRecord
from bayes_cpt.runs.schedule_checks import MOST_STEPS
from bayes_cpt.runs.table_checks import listed


@dataclass(frozen=True, eq=False)
class Curves:
    """Runs with their schedules and losses; made and checked by `bayes_cpt.read_curves`.

    Parameters
    ----------
    runs
        Indexed by run name: phase ("pt" or "cpt"), parent (text or missing), parent_step (Int64), replay (float, share
        of D_pt), model_size (non-embedding parameters), batch_tokens, seed (Int64), and any further columns.
    lr
        Columns run, step (from 1), lr: linear between the steps listed.
    losses
        Columns run, step (0 is the checkpoint), domain, loss (nats per token). No rows in a plan.
    names
        Which domains are the old and the new data.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> curves.lineage("cpt_m_wsd000_wsd_r025").ancestors
    ('pt_m_const', 'pt_m_wsd000')
    >>> curves.learning_rate("cpt_m_wsd000_wsd_r025").shape
    (3000,)
    """

    runs: pd.DataFrame
    lr: pd.DataFrame
    losses: pd.DataFrame
    names: DomainNames = OWN_ROLES

    @cached_property
    def records(self) -> dict[str, RunRecord]:
        """Row of ``runs`` by run; cached, since plans may have thousands of runs."""
        columns = (self.runs[name].to_numpy(object) for name in RunRecord._fields)
        return {
            str(run): RunRecord(
                phase,
                None if pd.isna(parent) else str(parent),
                0 if pd.isna(step) else int(step),
                *map(_number, numbers),
            )
            for run, phase, parent, step, *numbers in zip(self.runs.index, *columns, strict=True)
        }

    @cached_property
    def listed_rates(self) -> dict[str, tuple[IntArray, FloatArray]]:
        """Steps and learning rates (LRs) listed for each run, in order."""
        ordered = self.lr.sort_values(["run", "step"])
        names, firsts = np.unique(ordered["run"].to_numpy(object).astype(str), return_index=True)
        cuts = (*firsts[1:], len(ordered))
        step, rate = ordered["step"].to_numpy(np.int64), ordered["lr"].to_numpy(np.float64)
        return {
            str(name): (step[first:cut], rate[first:cut]) for name, first, cut in zip(names, firsts, cuts, strict=True)
        }

    @cached_property
    def rates(self) -> dict[str, FloatArray]:
        """LR of every step of each run, (steps,), from step 1; runs with equal schedules share one array."""
        found: dict[tuple[bytes, bytes], FloatArray] = {}
        by_run = {}
        for run, (step, rate) in self.listed_rates.items():
            schedule = step.tobytes(), rate.tobytes()
            if step[-1] > MOST_STEPS:
                raise DataError(
                    f"run {run!r} has {step[-1]:,} steps; at most {MOST_STEPS:,} are read: are these tokens?"
                )
            if schedule not in found:
                found[schedule] = np.interp(np.arange(1, step[-1] + 1), step, rate)
            by_run[run] = found[schedule]
        return by_run

    def learning_rate(self, run: str) -> FloatArray:
        """Return the LR of every step of a run, (steps,), from step 1: linear between the steps listed."""
        return self.rates[self._known(run)]

    def end_step(self, run: str) -> int:
        """Return the last step of a run's schedule."""
        return self.learning_rate(run).size

    def lineage(self, run: str) -> Lineage:
        """Return a run with its ancestors; cached.

        Raises
        ------
        DataError
            If there is no such run, or an ancestor is missing.
        """
        if run not in self._lineages:
            self._lineages[run] = self._traced(run)
        return self._lineages[run]

    @cached_property
    def _lineages(self) -> dict[str, Lineage]:
        return {}

    def ancestry(self, run: str) -> list[str]:
        """Return the names of a run's ancestors, oldest first, and its own; no LR is looked at.

        Raises
        ------
        DataError
            If there is no such run, or an ancestor is missing.
        """
        names = [self._known(run)]
        while (parent := self.records[names[0]].parent) is not None:
            names.insert(0, self._known(parent))
        return names

    def _traced(self, run: str) -> Lineage:
        names = self.ancestry(run)
        records = tuple(self.records[name] for name in names)
        before = [self.rates[name][: child.parent_step] for name, child in zip(names, records[1:], strict=False)]
        return Lineage(tuple(names), records, (*before, self.rates[run]))

    def _known(self, run: str) -> str:
        if run not in self.records:
            names = list(self.records)
            raise DataError(f"There is no run {run!r}{hint(run, names)}; the runs are {listed(names)}.")
        return run

    # Subsets of the runs, always of all three tables ------------------------------------------------------------------

    def only(self, names: Collection[str]) -> "Curves":
        """Return some of the runs, in the order of these curves; their parents may be missing."""
        lr, losses = (table[table["run"].isin(names)].reset_index(drop=True) for table in (self.lr, self.losses))
        return Curves(self.runs[self.runs.index.isin(names)], lr, losses, self.names)

    def without(self, names: Collection[str]) -> "Curves":
        """Return all other runs; children of those left out stay, so their lineages are incomplete."""
        return self.only(self.runs.index.difference(pd.Index(list(names)), sort=False))

    def joined(self, other: "Curves") -> "Curves":
        """Return the runs of both; the parent of a run may be in either.

        Raises
        ------
        DataError
            If a run is in both, or a parent is in neither.
        """
        twice = [name for name in other.runs.index if name in self.runs.index]
        if twice:
            raise DataError(f"There are already runs named {listed(twice)}; give the new runs other names.")
        both = Curves(
            pd.concat([self.runs, other.runs]),
            pd.concat([self.lr, other.lr], ignore_index=True),
            pd.concat([self.losses, other.losses], ignore_index=True),
            self.names,
        )
        for run in both.records:
            both.lineage(run)
        return both

    def with_losses(self, losses: pd.DataFrame) -> "Curves":
        """Return the same runs with other losses."""
        return replace(self, losses=losses.reset_index(drop=True))

    def with_names(self, pt: str | None = None, cpt: str | None = None) -> "Curves":
        """Return the same runs, of which two domains are said to be the old and the new data.

        Parameters
        ----------
        pt, cpt
            Names of the domains of the old and of the new data; as they are if None.

        Raises
        ------
        DataError
            If a name is not measured, both are the same, or the data have another domain of the name ``pt`` or ``cpt``.
        """
        given = {role: name for role, name in (("pt", pt), ("cpt", cpt)) if name is not None}
        names = self.names._replace(**given)
        if given:
            names.check(self.losses["domain"].unique().tolist())
        return replace(self, names=names)


def _number(value: float) -> float:
    return np.nan if pd.isna(value) else float(value)


def select(curves: Curves, where: str | None = None, domains: Sequence[str] | None = None) -> Curves:
    """Keep the runs that match a condition, their ancestors, and some of the domains.

    Parameters
    ----------
    curves
        All runs.
    where
        A condition on the columns of ``runs`` (`bayes_cpt._support.conditions`), for example
        ``"model_size == 332448"``; None keeps all runs.
    domains
        Domains to keep; None keeps all.

    Returns
    -------
    Curves
        Rows in the order of ``curves``.

    Raises
    ------
    DataError
        If the condition cannot be read or matches no run, a domain is unknown, or no loss is left.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> larger = bc.select(curves, "model_size == 332448", domains=["pt", "cpt"])
    >>> len(larger.runs)
    14
    """
    present = sorted(curves.losses["domain"].unique())
    kept = list(curves.records) if where is None else _matching(curves.runs, where)
    for domain in domains or []:
        if domain not in present:
            raise DataError(f"No domain {domain!r}{hint(domain, present)}; the domains are {', '.join(present)}.")
    names = {name for run in kept for name in curves.ancestry(run)}
    wanted = present if domains is None else domains
    chosen = curves.only(names)
    losses = chosen.losses[chosen.losses["domain"].isin(wanted)]
    if losses.empty and not curves.losses.empty:
        raise DataError(f"No losses are left of the runs {listed(sorted(names))} on the domains {', '.join(wanted)}.")
    return chosen.with_losses(losses)


def _matching(runs: pd.DataFrame, where: str) -> list[str]:
    columns = ", ".join(["run", *map(str, runs.columns)])
    try:
        kept = [str(run) for run in runs.index[matching(runs, where)]]
    except DataError as error:
        raise DataError(f"The query {quoted(where)} fails ({error}); the columns are {columns}.") from error
    if not kept:
        raise DataError(f"The query {quoted(where)} matches none of the {len(runs)} runs; the columns are {columns}.")
    return kept


def measured_losses(curves: Curves) -> Mapping[tuple[str | None, int, str], float]:
    """Return measured losses by (run, step, domain).

    A loss at step 0 is that of the checkpoint, so it is listed under the run and step of the checkpoint. If that run
    was measured at this step too, its own loss is used.
    """
    losses = curves.losses.sort_values("step", ascending=False, kind="stable")
    rows = zip(losses["run"], losses["step"], losses["domain"], losses["loss"], strict=True)
    found: dict[tuple[str | None, int, str], float] = {}
    for run, step, domain, loss in rows:
        record = curves.records[run]
        key = (record.parent, record.parent_step, domain) if step == 0 else (run, step, domain)
        found.setdefault(key, float(loss))
    return found


def measured_steps(curves: Curves) -> dict[str, list[int]]:
    """Return the measured steps of each run."""
    return {str(run): rows["step"].unique().tolist() for run, rows in curves.losses.groupby("run")}


@lru_cache(maxsize=4)  # one forecast asks for it several times
def family(planned: Curves, known: Curves) -> Curves:
    """Join resolved runs and the data; of a run in both, the plan's schedule is used."""
    return known.without(planned.runs.index).joined(planned)
