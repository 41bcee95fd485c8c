"""Check the tables of a curve folder: find all their faults, and convert their cells to types.

``Cells`` has the cells as they were read, indexed by row number. ``frames_of`` converts the tables of one folder to
typed frames, and returns a list of faults, one sentence per fault. It corrects and drops nothing.
"""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.files import read_text
from bayes_cpt.errors import DataError, hint, quoted
from bayes_cpt.runs.schedule_checks import LARGEST_RATE

MINIMUM_POINTS = 8
"""Minimum number of measured points of a domain, over all runs, to fit a law to."""

MOST_SHOWN = 50
"""Maximum number of columns that a message lists."""
SHOWN = 5
"""Maximum number of rows or names that a message lists; it gives the number of the others."""

COUNTED = "if steps go on from those of the parent, subtract parent_step from all of them"
"""What a step out of range may mean; a row that is added would not mend it."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": ("run", "phase", "parent", "parent_step", "replay", "model_size", "batch_tokens", "seed"),
    "lr": ("run", "step", "lr"),
    "losses": ("run", "step", "domain", "loss"),
}
KEYS: dict[str, list[str]] = {"runs": ["run"], "lr": ["run", "step"], "losses": ["run", "step", "domain"]}
NAMES = {"run", "phase", "parent", "domain"}
OPTIONAL = {"model_size", "batch_tokens", "seed"}
LARGEST_INTEGER = 2**53  # floats represent all integers up to this one
LARGEST_LOSS, LONGEST_NAME = 1e6, 200
NAME = f"a name of at most {LONGEST_NAME} letters, without NUL characters"


class Cells(NamedTuple):
    """Cells of one table as they were read, indexed by row number; "" if empty. Only extra columns have types."""

    name: str
    cells: pd.DataFrame


class Rule(NamedTuple):
    """A condition on the cells of a column.

    Parameters
    ----------
    column
        The column.
    right
        What its cells must be.
    bad
        By row, whether the cell is not so.
    why
        Explanation for a message, with a place for the row's ``number``.
    number
        By row.
    """

    column: str
    right: str
    bad: pd.Series
    why: str = "{}"
    number: pd.Series | None = None


def listed(items: Sequence[object]) -> str:
    """Join the first items by commas, and give the number of the others."""
    more = f" and {len(items) - SHOWN:,} more" if len(items) > SHOWN else ""
    return ", ".join(str(item) for item in items[:SHOWN]) + more


# Reading ------------------------------------------------------------------------------------------------------------


def read_cells(path: Path, kind: str) -> tuple[Cells | None, list[str]]:
    """Read one CSV file, and return its cells (None if it cannot be read) and its faults."""
    if not (path.exists() or path.is_symlink()):
        return None, [f"{path.name} is missing; the folder needs it, with the columns {', '.join(COLUMNS[kind])}"]
    try:
        text = read_text(path)
    except DataError as error:
        return None, [f"{path.name} {str(error).removeprefix('it ')}"]
    return cells_of_text(path.name, kind, text)


def cells_of_text(name: str, kind: str, text: str) -> tuple[Cells | None, list[str]]:
    """Return the cells of a CSV file's text (None if it is not CSV) and its faults."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        return None, [f"{name} row {reader.line_num} is not CSV: {error}"]
    if not rows:
        return None, [f"{name} is empty; it needs a header with the columns {', '.join(COLUMNS[kind])}"]
    return _cells_of_rows(name, kind, rows)


def _cells_of_rows(name: str, kind: str, rows: list[tuple[int, list[str]]]) -> tuple[Cells | None, list[str]]:
    (_, header), *body = rows
    faults = _header_faults(name, kind, header)
    uneven = [f"row {line} has {len(row)}" for line, row in body if len(row) != len(header)]
    if uneven and not faults:
        faults = [f"{name}: each row must have {len(header)} cells as the header has; {listed(uneven)}"]
    if faults:
        return None, faults
    cells = pd.DataFrame([row for _, row in body], index=[line for line, _ in body], columns=header, dtype=object)
    extra = {column: _inferred(cells[column]) for column in header if column not in COLUMNS[kind]}
    return Cells(name, _with_optional(_with(cells, extra), kind)), []


def cells_of_frame(frame: pd.DataFrame, kind: str) -> tuple[Cells | None, list[str]]:
    """Return the cells of a DataFrame and its faults; rows are counted from 0."""
    if "run" not in frame.columns and frame.index.name == "run":
        frame = frame.reset_index()
    frame = frame.reset_index(drop=True)
    faults = _header_faults(kind, kind, [str(column) for column in frame.columns])
    if faults:
        return None, faults
    own = [column for column in frame.columns if column in COLUMNS[kind]]
    cells = _with(frame, {column: frame[column].astype(object).where(frame[column].notna(), "") for column in own})
    return Cells(kind, _with_optional(cells, kind)), []


def _header_faults(name: str, kind: str, header: list[str]) -> list[str]:
    twice, extra = sorted({c for c in header if header.count(c) > 1}), [c for c in header if c not in COLUMNS[kind]]
    lacking = [column for column in COLUMNS[kind] if column not in header]
    named = [column for column in lacking if column not in OPTIONAL or hint(column, extra)]
    shown = [f"{quoted(column)}{hint(column, named) if column in extra else ''}" for column in header]
    faults = [f"{name} row 1: the column {quoted(column)} occurs more than once; keep one" for column in twice]
    if named:
        faults.append(
            f"{name} row 1 lacks the columns {', '.join(map(repr, named))}; it has {', '.join(shown[:MOST_SHOWN])} "
            "(columns must be separated by commas)"
        )
    return faults


def _with(frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a frame with columns replaced or added; a column may have any name, also ``self``."""
    changed = frame.copy()
    for name, values in columns.items():
        changed[name] = values
    return changed


def _with_optional(cells: pd.DataFrame, kind: str) -> pd.DataFrame:
    return _with(cells, dict.fromkeys((c for c in COLUMNS[kind] if c not in cells), ""))


def _inferred(cells: pd.Series) -> pd.Series:
    """Return numbers if all filled cells are numbers (so that queries can compare them), else text."""
    filled, numbers = cells != "", _numbers(cells)
    if not filled.any() or numbers[filled].isna().any():
        return cells.where(filled).astype("str")
    return numbers if (numbers.notna() & ~_is_integer(numbers)).any() else numbers.astype("Int64")


# Checking -----------------------------------------------------------------------------------------------------------


def frames_of(
    found: Mapping[str, tuple[Cells | None, list[str]]], known: pd.DataFrame | None = None
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Check the tables of one folder: each table, and their relations.

    Parameters
    ----------
    found
        For "runs", "lr" and, except for a plan, "losses": the cells, and the faults found when reading them.
    known
        The ``pedigree`` of further runs that may be parents.

    Returns
    -------
    dict of str to DataFrame
        Typed frames, with the column "run"; none if there are faults.
    list of str
        All faults, one sentence per fault.
    """
    tables = {kind: table for kind, (table, _) in found.items() if table is not None}
    faults = [fault for _, met in found.values() for fault in met]
    values = {kind: _values(table, kind) for kind, table in tables.items()}
    family = _family(values, known)
    for kind, table in tables.items():
        if table.cells.empty:
            faults.append(f"{table.name} has no rows; it needs at least one")
        faults += _breaches(table, _RULES[kind](table.cells, values[kind], family))
        faults += _repeated(table, values[kind][KEYS[kind]])
    if "runs" in tables:
        faults += _circles(tables["runs"].name, values["runs"])
    if "losses" in tables:
        faults += _sparse_domains(tables["losses"].name, values["losses"]["domain"])
    return ({} if faults else {kind: _typed(frame, kind) for kind, frame in values.items()}), faults


def pedigree(runs: pd.DataFrame, lr: pd.DataFrame) -> pd.DataFrame:
    """Return, by run, what its children must agree with; ``end`` is the last step with a learning rate."""
    of_runs = runs[["phase", "parent", "replay", "model_size"]]
    return of_runs.astype({"replay": float, "model_size": float}).assign(
        end=lr.groupby("run")["step"].max().astype(float)
    )


def _family(values: Mapping[str, pd.DataFrame], known: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return the pedigree of the runs read (``own``) and of the known ones; None if there are none."""
    if "runs" not in values or values["runs"].empty:
        return None
    runs = values["runs"].drop_duplicates("run").set_index("run").drop(index="", errors="ignore")
    own = pedigree(runs, values.get("lr", pd.DataFrame({"run": [], "step": []})))
    own = own.assign(
        own=True,
        from_scratch=(runs["phase"] == "pt") & (runs["parent"] == ""),
        unscheduled=own["end"].isna() & ("lr" in values),
        taken=False if known is None else runs.index.isin(known.index),
    )
    if known is None:
        return own
    others = known[~known.index.isin(own.index)]
    return pd.concat([own, others.assign(own=False, from_scratch=False, unscheduled=False, taken=False)])


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def _numbers(cells: pd.Series) -> pd.Series:
    return pd.Series([_number(cell) for cell in cells], index=cells.index, dtype=float)


def _is_name(texts: pd.Series) -> pd.Series:
    # NumPy and NetCDF drop NUL characters at the end of a text
    return texts.str.len().between(1, LONGEST_NAME) & ~texts.str.contains("\0", regex=False)


def _is_integer(numbers: pd.Series) -> pd.Series:
    return (numbers.abs() < LARGEST_INTEGER) & (np.floor(numbers) == numbers)


def _values(table: Cells, kind: str) -> pd.DataFrame:
    """Return names as text and all other columns as floats, NaN for a cell that is not a number."""
    cells = table.cells
    typed = {name: cells[name].astype("str") if name in NAMES else _numbers(cells[name]) for name in COLUMNS[kind]}
    return _with(cells, typed)


def _run_rules(cells: pd.DataFrame, runs: pd.DataFrame, family: pd.DataFrame | None) -> Iterator[Rule]:
    pt, cpt = runs["phase"] == "pt", runs["phase"] == "cpt"
    filled = cells[list(COLUMNS["runs"])] != ""
    step = runs["parent_step"]
    yield Rule("run", NAME, ~_is_name(runs["run"]))
    yield Rule("phase", "'pt' or 'cpt'", ~(pt | cpt))
    yield Rule("parent", "given where parent_step is", filled["parent_step"] & ~filled["parent"])
    yield Rule("parent_step", "given where parent is", filled["parent"] & ~filled["parent_step"])
    yield Rule("parent_step", "an integer from 0", filled["parent_step"] & ~(_is_integer(step) & (step >= 0)))
    yield Rule("replay", "empty for a pt run", pt & filled["replay"])
    yield Rule("replay", "a share from 0 to 1 for a cpt run", cpt & ~runs["replay"].between(0, 1))
    for column in ("model_size", "batch_tokens"):
        positive = _is_integer(runs[column]) & (runs[column] > 0)
        yield Rule(column, "a positive integer or empty", filled[column] & ~positive)
    yield Rule("seed", "an integer below 2**53 or empty", filled["seed"] & ~_is_integer(runs["seed"]))
    if family is not None:
        yield from _family_rules(runs, family)


def _family_rules(runs: pd.DataFrame, family: pd.DataFrame) -> Iterator[Rule]:
    parent = family.reindex(runs["parent"]).set_axis(runs.index)
    yield Rule("run", "a new name, not the name of a known run", runs["run"].isin(family.index[family["taken"]]))
    yield Rule("run", "in the table of learning rates too", runs["run"].isin(family.index[family["unscheduled"]]))
    yield Rule("parent", "the name of a run", (runs["parent"] != "") & ~runs["parent"].isin(family.index))
    of_cpt = parent["phase"] == "cpt"
    yield Rule("parent", "a pt run for a pt run", (runs["phase"] == "pt") & of_cpt)
    beyond = runs["parent_step"] > parent["end"]
    yield Rule("parent_step", "a step of the parent", beyond, "it ends at step {:,.0f}", parent["end"])
    changed = of_cpt & (runs["phase"] == "cpt") & _differ(runs["replay"], parent["replay"])
    right = "that of its cpt parent (laws do not describe a change of replay)"
    yield Rule("replay", right, changed, "the parent has {:g}", parent["replay"])
    resized = _differ(runs["model_size"], parent["model_size"])
    yield Rule("model_size", "that of its parent", resized, "the parent has {:.0f}", parent["model_size"])


def _differ(first: pd.Series, second: pd.Series) -> pd.Series:
    return (first != second) & first.notna() & second.notna()


def _foreign_runs(table: pd.DataFrame, family: pd.DataFrame | None) -> Iterator[Rule]:
    """Yield the rules on the column ``run``; of runs that the table of runs lacks, only the first row is a fault."""
    yield Rule("run", "a name", table["run"] == "")
    if family is not None:
        foreign = ~table["run"].isin(family.index[family["own"]]) & (table["run"] != "")
        yield Rule("run", "in the table of runs too", foreign & ~table["run"].duplicated())


def _lr_rules(_cells: pd.DataFrame, lr: pd.DataFrame, family: pd.DataFrame | None) -> Iterator[Rule]:
    step, rate = lr["step"], lr["lr"]
    yield from _foreign_runs(lr, family)
    yield Rule("step", "an integer from 1", ~(_is_integer(step) & (step >= 1)))
    late = (step == step.groupby(lr["run"]).transform("min")) & (step > 1)
    yield Rule("step", f"1 at the start of a run ({COUNTED}; else list the LR of step 1)", late)
    yield Rule("lr", "a finite number, 0 or more", ~rate.between(0, np.inf, inclusive="left"))
    yield Rule("lr", f"at most {LARGEST_RATE:g}", rate.between(LARGEST_RATE, np.inf, inclusive="neither"))


def _loss_rules(_cells: pd.DataFrame, losses: pd.DataFrame, family: pd.DataFrame | None) -> Iterator[Rule]:
    step, loss = losses["step"], losses["loss"]
    yield from _foreign_runs(losses, family)
    yield Rule("domain", NAME, ~_is_name(losses["domain"]))
    yield Rule("step", "an integer from 0", ~(_is_integer(step) & (step >= 0)))
    yield Rule("loss", "a finite number above 0", ~loss.between(0, np.inf, inclusive="neither"))
    yield Rule("loss", f"at most {LARGEST_LOSS:g}", loss.between(LARGEST_LOSS, np.inf, inclusive="neither"))
    if family is not None:
        end = losses["run"].map(family["end"]).astype(float)
        right = f"within the run's schedule of learning rates ({COUNTED})"
        yield Rule("step", right, step > end, "it ends at step {:,.0f}", end)
        untrained = losses["run"].isin(family.index[family["from_scratch"]]) & (step == 0)
        yield Rule("step", "1 or more in a run from scratch (laws do not describe an untrained model)", untrained)


_RULES: dict[str, Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame | None], Iterator[Rule]]] = {
    "runs": _run_rules,
    "lr": _lr_rules,
    "losses": _loss_rules,
}


def _breaches(table: Cells, rules: Iterable[Rule]) -> Iterator[str]:
    for rule in rules:
        rows = rule.bad.index[rule.bad.to_numpy(dtype=bool)]
        if len(rows):
            shown = [_cell(table, row, rule) for row in rows[:SHOWN]]
            yield f"{table.name}: {rule.column} must be {rule.right}; {listed([*shown, *rows[SHOWN:]])}"


def _cell(table: Cells, row: int, rule: Rule) -> str:
    cell = table.cells.loc[row, rule.column]
    text = "an empty cell" if isinstance(cell, str) and not cell else quoted(str(cell))
    why = f" ({rule.why.format(rule.number[row])})" if rule.number is not None else ""
    return f"row {row} has {text}{why}"


def _repeated(table: Cells, keys: pd.DataFrame) -> Iterator[str]:
    keys = keys.dropna()
    again = keys.index[keys.duplicated()]
    if len(again):
        columns = list(keys.columns)
        first = keys.index.to_series().groupby([keys[column] for column in columns]).transform("min")
        shown = [f"row {row} repeats row {first[row]} ({_key(table, row, columns)})" for row in again[:SHOWN]]
        yield f"{table.name}: {', '.join(columns)} must occur once; {listed([*shown, *again[SHOWN:]])}"


def _key(table: Cells, row: int, columns: list[str]) -> str:
    return ", ".join(str(table.cells.loc[row, column]) for column in columns)


def _circles(name: str, runs: pd.DataFrame) -> Iterator[str]:
    """Follow the parents of each run, and yield each circle once."""
    parents = dict(zip(runs["run"], runs["parent"], strict=True))
    rows = dict(zip(runs["run"], runs.index, strict=True))
    cleared: set[str] = set()
    for start in filter(None, parents):
        run, path = start, []
        while run and run in parents and run not in cleared and run not in path:
            path.append(run)
            run = parents[run]
        if run in path:
            circle = " -> ".join([*path[path.index(run) :], run])
            yield f"{name} row {rows[run]}: parents must not form a circle; this row has {circle}"
        cleared.update(path)


def _sparse_domains(name: str, domains: pd.Series) -> Iterator[str]:
    for domain, points in domains[domains != ""].value_counts(sort=False).items():
        if points < MINIMUM_POINTS:
            yield (
                f"{name}: domain {domain!r} has {points} measured points over all runs; a fit needs "
                f"{MINIMUM_POINTS} or more"
            )


def _typed(values: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Convert a table without faults to its final types; the documented columns come first."""
    extra = [column for column in values.columns if column not in COLUMNS[kind]]
    frame = values[[*COLUMNS[kind], *extra]].reset_index(drop=True)
    if kind != "runs":
        return frame.astype({"step": "int64"})
    integers = dict.fromkeys(("parent_step", *sorted(OPTIONAL)), "Int64")
    return frame.assign(parent=frame["parent"].where(frame["parent"] != "")).astype(integers)
