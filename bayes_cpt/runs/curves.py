"""Loss curves: runs, their learning rates and their losses; the curve folder that holds them, and their lineages."""

import csv
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt.areas import Segment
from bayes_cpt.errors import CurvesError, DataError, hint
from bayes_cpt.validation import (
    COLUMNS,
    KEYS,
    MINIMUM_POINTS,
    Table,
    frames_of,
    listed,
    pedigree,
    read_table,
    table_of_frame,
)

__all__ = [
    "MINIMUM_POINTS",
    "Curves",
    "ancestors",
    "curves_from_frames",
    "curves_from_tables",
    "digest",
    "end_step",
    "learning_rates",
    "lineage",
    "measured_losses",
    "merge",
    "read_curves",
    "select",
    "transfer_run",
    "write_curves",
]


class Link(NamedTuple):
    """A row of ``runs``: phase, parent, the parent's step at the branch (0 without one); numbers, NaN if missing."""

    phase: Literal["pt", "cpt"]
    parent: str | None
    parent_step: int
    replay: float
    model_size: float
    batch_tokens: float


@dataclass(frozen=True, eq=False)
class Curves:
    """Runs with their schedules and losses; made by the functions of this module, which check them.

    Parameters
    ----------
    runs
        Indexed by run name: phase ("pt" or "cpt"), parent (text or missing), parent_step (Int64), replay (float, share
        of D_pt), model_size (non-embedding parameters), batch_tokens, seed (Int64), and any further columns.
    lr
        Columns run, step (from 1), lr: linear between the steps listed.
    losses
        Columns run, step (0 is the checkpoint), domain, loss. No rows in a plan.
    """

    runs: pd.DataFrame
    lr: pd.DataFrame
    losses: pd.DataFrame

    @cached_property
    def listed_rates(self) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Steps and LRs listed for each run, in order: looked up once, since plans may have thousands of runs."""
        ordered = self.lr.sort_values(["run", "step"])
        names, firsts = np.unique(ordered["run"].to_numpy(object).astype(str), return_index=True)
        cuts = (*firsts[1:], len(ordered))
        step, rate = ordered["step"].to_numpy(np.int64), ordered["lr"].to_numpy(np.float64)
        return {str(name): (step[a:b], rate[a:b]) for name, a, b in zip(names, firsts, cuts, strict=True)}

    @cached_property
    def links(self) -> dict[str, Link]:
        """What each run goes on from, looked up once for the same reason."""
        columns = (self.runs[name].to_numpy(object) for name in Link._fields)
        return {
            str(run): Link(
                phase,
                None if pd.isna(parent) else str(parent),
                0 if pd.isna(step) else int(step),
                *map(_number, numbers),
            )
            for run, phase, parent, step, *numbers in zip(self.runs.index, *columns, strict=True)
        }


# In and out ---------------------------------------------------------------------------------------------------------


def read_curves(path: str | Path) -> Curves:
    """Read and check a curve folder.

    Returns
    -------
    Curves
        Rows in the order of the files.

    Raises
    ------
    CurvesError
        With every fault of the folder: file, row (the header is row 1), column, value, what would be right.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CurvesError(str(folder), ["no such folder; give one that has " + ", ".join(f"{k}.csv" for k in COLUMNS)])
    return curves_from_tables(str(folder), {kind: read_table(folder / f"{kind}.csv", kind) for kind in COLUMNS})


def curves_from_frames(
    runs: pd.DataFrame, lr: pd.DataFrame, losses: pd.DataFrame | None = None, known: Curves | None = None
) -> Curves:
    """Check DataFrames with the columns of a curve folder (``runs`` may be indexed by run).

    Without ``losses`` they are a plan, whose parents may also be runs of ``known``.

    Raises
    ------
    CurvesError
        With every fault; rows are counted from 0.
    """
    frames = {"runs": runs, "lr": lr} | ({} if losses is None else {"losses": losses})
    return curves_from_tables(
        "DataFrames", {kind: table_of_frame(frame, kind) for kind, frame in frames.items()}, known
    )


def curves_from_tables(
    source: str, found: Mapping[str, tuple[Table | None, list[str]]], known: Curves | None = None
) -> Curves:
    """Check tables as `bayes_cpt.validation` reads them; without losses they are a plan, as in `curves_from_frames`.

    Raises
    ------
    CurvesError
        With every fault, under the name of the ``source``.
    """
    frames, faults = frames_of(found, None if known is None else pedigree(known.runs, known.lr))
    if faults:
        raise CurvesError(source, faults)
    return Curves(frames["runs"].set_index("run"), frames["lr"], frames.get("losses", _no_losses()))


def _no_losses() -> pd.DataFrame:
    return pd.DataFrame(columns=list(COLUMNS["losses"])).astype(
        {"run": "str", "step": "int64", "domain": "str", "loss": float}
    )


def _tables(curves: Curves) -> dict[str, pd.DataFrame]:
    return {"runs": curves.runs.reset_index(), "lr": curves.lr, "losses": curves.losses}


def write_curves(curves: Curves, path: str | Path) -> None:
    """Write a curve folder; reading it gives the same values. Files appear whole or not at all."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        names = [f"{kind}.csv" for kind in COLUMNS]
        for name, table in zip(names, _tables(curves).values(), strict=True):
            table.to_csv(Path(temporary) / name, index=False, lineterminator="\n", quoting=_quoting(table))
        for name in names:
            (Path(temporary) / name).replace(folder / name)


def _quoting(table: pd.DataFrame) -> Literal[0, 2]:
    """Quote all text if a carriage return is in it: Python's csv would leave that bare, and so break the row."""
    text = table.select_dtypes(["str", "object"]).astype("str")
    return csv.QUOTE_NONNUMERIC if any(text[name].str.contains("\r").any() for name in text) else csv.QUOTE_MINIMAL


def digest(curves: Curves) -> str:
    """SHA-256 of the columns of the contract, the same for any order of rows and any way to write the numbers."""
    total = hashlib.sha256()
    for kind, table in _tables(curves).items():
        ordered = table[list(COLUMNS[kind])].sort_values(KEYS[kind])
        total.update(ordered.to_csv(index=False, lineterminator="\n").encode())
    return total.hexdigest()


def _number(value: float) -> float:
    return np.nan if pd.isna(value) else float(value)


# Lineages -----------------------------------------------------------------------------------------------------------


def _known(curves: Curves, run: str) -> str:
    if run not in curves.links:
        names = list(curves.runs.index)
        raise DataError(f"There is no run {run!r}{hint(run, names)}; the runs are {listed(names)}.")
    return run


def end_step(curves: Curves, run: str) -> int:
    """Return the last step of a run's schedule."""
    return int(curves.listed_rates[_known(curves, run)][0][-1])


def learning_rates(curves: Curves, run: str) -> NDArray[np.float64]:
    """Learning rate of every step of a run from 1 to its end, linear between the steps listed; shape (steps,)."""
    step, rate = curves.listed_rates[_known(curves, run)]
    return np.interp(np.arange(1, step[-1] + 1), step, rate)


def ancestors(curves: Curves, run: str) -> list[str]:
    """Names of the runs that a run goes on from, oldest first, without the run itself."""
    chain: list[str] = []
    parent = curves.links[_known(curves, run)].parent
    while parent is not None:
        chain.insert(0, _known(curves, parent))
        parent = curves.links[parent].parent
    return chain


def lineage(curves: Curves, run: str, batch_tokens: float = np.nan) -> list[Segment]:
    """Schedules that lead to a run: ancestors oldest first, each cut at its branch step, and the run itself last.

    ``batch_tokens`` are those of a reference step; a run whose own are not given is taken to have as many.
    """
    chain = [*ancestors(curves, run), run]
    cuts = [*(curves.links[name].parent_step for name in chain[1:]), None]
    segments = [
        Segment(curves.links[name].phase, learning_rates(curves, name)[:cut], _tokens(curves.links[name], batch_tokens))
        for name, cut in zip(chain, cuts, strict=True)
    ]
    return [segment for segment in segments if segment.learning_rate.size]


def _tokens(link: Link, batch_tokens: float) -> float:
    ratio = link.batch_tokens / batch_tokens
    return ratio if np.isfinite(ratio) else 1.0


def transfer_run(curves: Curves, run: str) -> str | None:
    """Return the CPT run of a lineage that starts at the transfer point; None in pre-training."""
    return next((name for name in [*ancestors(curves, run), run] if curves.links[name].phase == "cpt"), None)


def measured_losses(curves: Curves) -> dict[tuple[str | None, int, str], float]:
    """Return measured losses by (run, step, domain); at step 0 under the run and step that the checkpoint is of.

    Where a checkpoint was measured both as its run's own step and as step 0 of others, the first counts.
    """
    losses = curves.losses.sort_values("step", ascending=False, kind="stable")
    rows = zip(losses["run"], losses["step"], losses["domain"], losses["loss"], strict=True)
    found: dict[tuple[str | None, int, str], float] = {}
    for run, step, domain, loss in rows:
        link = curves.links[run]
        found.setdefault((link.parent, link.parent_step, domain) if step == 0 else (run, step, domain), float(loss))
    return found


# Choosing -----------------------------------------------------------------------------------------------------------


def select(curves: Curves, where: str | None = None, domains: Sequence[str] | None = None) -> Curves:
    """Keep the runs that a pandas query over ``runs`` names, their ancestors, and some of the domains.

    Raises
    ------
    DataError
        If the query fails or keeps no run, a domain is unknown, or no loss is left.
    """
    present = sorted(curves.losses["domain"].unique())
    kept = list(curves.runs.index) if where is None else _queried(curves.runs, where)
    for domain in domains or []:
        if domain not in present:
            raise DataError(f"No domain {domain!r}{hint(domain, present)}; the domains are {', '.join(present)}.")
    names = {name for run in kept for name in (run, *ancestors(curves, run))}
    wanted = present if domains is None else domains
    losses = curves.losses[curves.losses["run"].isin(names) & curves.losses["domain"].isin(wanted)]
    if losses.empty and not curves.losses.empty:
        raise DataError(f"No losses are left for the runs {listed(sorted(names))} and the domains {', '.join(wanted)}.")
    return replace(
        curves,
        runs=curves.runs[curves.runs.index.isin(names)],
        lr=curves.lr[curves.lr["run"].isin(names)].reset_index(drop=True),
        losses=losses.reset_index(drop=True),
    )


def _queried(runs: pd.DataFrame, where: str) -> list[str]:
    columns = ", ".join(["run", *runs.columns])
    try:
        kept = list(runs.query(where, engine="python").index)
    except Exception as error:  # a query may raise nearly anything
        raise DataError(f"The query {where!r} fails ({error}); the columns are {columns}.") from error
    if not kept:
        raise DataError(f"The query {where!r} keeps no run of {len(runs)}; the columns are {columns}.")
    return kept


def merge(first: Curves, second: Curves) -> Curves:
    """Put two sets of runs together; parents of the second may be in the first.

    Raises
    ------
    DataError
        If a run is in both, or a parent in neither.
    """
    twice = [name for name in second.runs.index if name in first.runs.index]
    if twice:
        raise DataError(f"Runs of both sets have the names {listed(twice)}; give the new ones others.")
    both = Curves(
        pd.concat([first.runs, second.runs]),
        pd.concat([first.lr, second.lr], ignore_index=True),
        pd.concat([first.losses, second.losses], ignore_index=True),
    )
    for run in both.runs.index:
        ancestors(both, run)
    return both
