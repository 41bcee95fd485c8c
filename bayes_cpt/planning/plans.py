"""Plans: runs that have not been run, listed in a folder, or given as a grid in a TOML file or in Python.

A plan is checked by `resolve` against the data, which have the parents of its runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayes_cpt._support.files import is_file, parse_toml, read_text
from bayes_cpt.errors import CurvesError, DataError, ScheduleError, hint, path_shown, quoted
from bayes_cpt.planning import schedules
from bayes_cpt.planning.schedules import Floats, Ints, Names, Schedule
from bayes_cpt.runs.curve_folder import curves_from_cells
from bayes_cpt.runs.curves import Curves, family
from bayes_cpt.runs.schedule_checks import LEARNING_RATE_TOLERANCE, MOST_STEPS, corners
from bayes_cpt.runs.table_checks import Cells, cells_of_frame, listed, read_cells

MOST_RUNS = 100_000
"""Number of runs of the largest grid."""

MOST_STEPS_IN_ALL = 100_000_000
"""Number of steps of all schedules of a grid: each has a learning rate in memory."""

_FIELDS = ("parent", "parent_step", "replay", "phase", "schedule")


@dataclass(frozen=True, eq=False)
class Plan:
    """The tables of a plan, not yet checked: made by `plan` or `read_plan`, used by `resolve`.

    Parameters
    ----------
    source
        Where the tables come from, for messages.
    runs, lr
        Cells of ``runs.csv`` and ``lr.csv``. An empty ``parent_step`` means the last step of the parent.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> planned = bc.plan(parent="pt_m_wsd000", replay=0.25, schedule=bc.wsd(peak=1e-3, steps=3000, warmup=100))
    >>> planned.runs.cells["run"].tolist()
    ['pt_m_wsd000_r025']
    """

    source: str
    runs: Cells
    lr: Cells


# Making -------------------------------------------------------------------------------------------------------------


def plan(
    parent: Names,
    replay: Floats | None = None,
    *,
    schedule: Schedule | Sequence[Schedule],
    parent_step: Ints | None = None,
    phase: Literal["pt", "cpt"] = "cpt",
) -> Plan:
    """Plan a grid of runs. Any argument except ``phase``, and any field of a schedule, may be a list.

    Parameters
    ----------
    parent
        Run that the planned runs continue; "" for none, which in CPT is an open checkpoint.
    replay
        Share of D_pt in the CPT data, 0 to 1; None in pre-training (PT).
    schedule
        LR of the run; see `bayes_cpt.wsd`.
    parent_step
        Step of the parent at which they start; None for its last step.
    phase
        ``cpt`` or ``pt``.

    Returns
    -------
    Plan
        The last field of the schedule varies fastest. The name of a run has its parent, its replay ratio in per cent,
        and the fields that vary: ``pt_m_wsd000_r025_peak0.002_steps3000``.

    Raises
    ------
    CurvesError
        With all faults of the arguments, or if two runs would have the same name.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> schedule = bc.wsd(peak=[1e-3, 2e-3], steps=3000, warmup=100)
    >>> planned = bc.plan(parent="pt_m_wsd000", replay=[0, 0.5], schedule=schedule)
    >>> planned.runs.cells["run"].tolist()  # doctest: +NORMALIZE_WHITESPACE
    ['pt_m_wsd000_r000_peak0.001', 'pt_m_wsd000_r000_peak0.002',
     'pt_m_wsd000_r050_peak0.001', 'pt_m_wsd000_r050_peak0.002']
    """
    return _grid(
        "plan", parent=parent, parent_step=parent_step, replay=replay, phase=phase, schedule=_several(schedule)
    )


def read_plan(path: str | Path) -> Plan:
    """Read a plan from a folder or a TOML file.

    Parameters
    ----------
    path
        A folder with ``runs.csv`` and ``lr.csv`` (other files are ignored), or a TOML file with the arguments of
        `plan`. In TOML, ``[schedule]`` has ``kind`` (a key of ``bayes_cpt.planning.schedules.SCHEDULES``, or the path
        of a CSV file of step, lr, relative to the TOML file) and the arguments of that kind.

    Returns
    -------
    Plan
        Not yet checked against data; see `resolve`.

    Raises
    ------
    CurvesError
        If the path is neither, or the files cannot be read.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> len(bc.read_plan(bc.shipped("data/microcpt")).runs.cells)
    17
    """
    path = Path(path)
    if path.is_dir():
        return of_tables(str(path), {kind: read_cells(path / f"{kind}.csv", kind) for kind in ("runs", "lr")})
    if path.suffix != ".toml" or not is_file(path):
        raise CurvesError(path_shown(path), ["no such plan; give a folder with runs.csv and lr.csv, or a .toml file"])
    return _grid(str(path), **_arguments(path))


def of_tables(source: str, found: Mapping[str, tuple[Cells | None, list[str]]]) -> Plan:
    """Return a plan of the tables ``runs`` and ``lr``; raise `CurvesError` with the faults of unreadable ones."""
    runs, lr = found["runs"][0], found["lr"][0]
    if runs is None or lr is None:
        raise CurvesError(source, [fault for _, faults in found.values() for fault in faults])
    return Plan(source, runs, lr)


def _arguments(path: Path) -> dict[str, Any]:
    """Return the arguments of a grid from a TOML file."""
    try:
        document = parse_toml(read_text(path))
    except DataError as error:
        raise CurvesError(str(path), [f"cannot be read as TOML: {error}"]) from error
    faults = [
        f"unknown key {key!r}{hint(key, _FIELDS)}; the keys are {', '.join(_FIELDS)}"
        for key in document
        if key not in _FIELDS
    ]
    faults += [f"{key} is missing" for key in ("parent", "schedule") if key not in document]
    table = document.get("schedule", {})
    if "schedule" in document and (not isinstance(table, dict) or "kind" not in table):
        faults.append(
            f"[schedule] must be a table with a kind: {', '.join(schedules.SCHEDULES)}, or the path of a CSV file"
        )
    if faults:
        raise CurvesError(str(path), faults)
    return document | {"schedule": list(_schedules(path, **table))}


def _schedules(path: Path, /, kind: Any, **fields: Any) -> Iterator[Schedule]:
    for each in _several(kind):
        try:
            yield schedules.schedule(str(path.parent / each) if str(each).endswith(".csv") else each, **fields)
        except ScheduleError as error:
            raise CurvesError(str(path), [f"[schedule] {error}"]) from error


# Grids --------------------------------------------------------------------------------------------------------------


class _Named(NamedTuple):
    """A schedule of a grid: the suffix of the run's name, and the few steps between which the LR is linear."""

    suffix: str
    step: NDArray[np.int64]
    lr: NDArray[np.float64]


def _grid(
    source: str, *, parent: Any, schedule: list[Any], parent_step: Any = None, replay: Any = None, phase: Any = "cpt"
) -> Plan:
    fields = {"parent": _several(parent), "parent_step": _several(parent_step), "replay": _several(replay)}
    if faults := list(_faults(**fields, schedule=schedule, phase=phase)):
        raise CurvesError(source, faults)
    count = prod(len(values) for values in fields.values()) * sum(schedules.members(shape) for shape in schedule)
    if count > MOST_RUNS:
        raise CurvesError(source, [f"the grid has {count:,} runs; at most {MOST_RUNS:,} are planned at once"])
    if (steps := sum(map(schedules.total_steps, schedule))) > MOST_STEPS_IN_ALL:
        most = f"at most {MOST_STEPS_IN_ALL:,} are planned at once"
        raise CurvesError(source, [f"the schedules of the grid have {steps:,} steps in all; {most}"])
    named = [member for shape in schedule for member in _named(shape, several_kinds=len(schedule) > 1)]
    members = list(product(*fields.values(), named))
    steps_vary = len(fields["parent_step"]) > 1
    names = [_name(phase, *member, steps_vary=steps_vary) for member in members]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise CurvesError(source, [f"runs of the grid must differ in their values; several are named {listed(twice)}"])
    runs = pd.DataFrame([member[:3] for member in members], columns=list(fields)).assign(run=names, phase=phase)
    lr = pd.DataFrame(
        {
            "run": np.repeat(names, [member[3].step.size for member in members]),
            "step": np.concatenate([member[3].step for member in members]),
            "lr": np.concatenate([member[3].lr for member in members]),
        }
    )
    return of_tables(source, {"runs": cells_of_frame(runs, "runs"), "lr": cells_of_frame(lr, "lr")})


def _several(value: Any) -> list[Any]:
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return list(value) if isinstance(value, list | tuple | range) else [value]


def _faults(
    parent: list[Any], parent_step: list[Any], replay: list[Any], schedule: list[Any], phase: Any
) -> Iterator[str]:
    """Yield the faults of the arguments of a grid."""
    if phase not in ("pt", "cpt"):
        yield f"phase must be 'pt' or 'cpt', not {quoted(phase)}"
    ratio = "a share from 0 to 1" if phase != "pt" else "left out for a pt run"
    rules = (
        ("parent", parent, "the name of a run, or '' for none", lambda value: isinstance(value, str)),
        ("parent_step", parent_step, "an integer of at least 0", lambda value: value is None or _is_count(value)),
        ("replay", replay, ratio, (lambda value: value is None) if phase == "pt" else _is_share),
        ("schedule", schedule, "a schedule, such as bayes_cpt.wsd makes", lambda value: isinstance(value, Schedule)),
    )
    for name, values, right, is_allowed in rules:
        if not values:
            yield f"{name} is an empty list: a grid needs at least one value"
        for value in values:
            if not is_allowed(value):
                yield f"{name} must be {right}, not {quoted(value)}"


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) <= MOST_STEPS


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1  # pyright: ignore[reportOperatorIssue] - numbers compare


def _named(shape: Schedule, *, several_kinds: bool) -> Iterator[_Named]:
    varying = [name for name, value in shape.fields.items() if isinstance(value, list) and len(value) > 1]
    for member in schedules.expand(shape):
        suffix = "".join(f"_{name}{_text(member.fields[name])}" for name in varying)
        rates = schedules.learning_rates(member)
        step = corners(rates)
        yield _Named(f"_{shape.kind}{suffix}" if several_kinds else suffix, step + 1, rates[step])


def _name(
    phase: str, parent: str, parent_step: int | None, replay: float | None, schedule: _Named, *, steps_vary: bool
) -> str:
    at = f"_at{'end' if parent_step is None else parent_step}" if steps_vary else ""
    ratio = "" if replay is None else f"_r{100 * replay:03g}"
    return f"{parent or phase}{at}{ratio}{schedule.suffix}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# Against data -------------------------------------------------------------------------------------------------------


def resolve(plan: Plan, known: Curves) -> Curves:
    """Check a plan against the data that have the parents of its runs.

    A planned run with the name of a run in the data is a continuation of that run. It must have the same parent, parent
    step and replay ratio, and its schedule, from step 1 to the new end, must repeat the recorded LR.

    Parameters
    ----------
    plan
        The planned runs.
    known
        The data.

    Returns
    -------
    Curves
        The planned runs, without losses.

    Raises
    ------
    CurvesError
        With all faults: unknown parents; if there are none, faults of the tables; else differences from the data.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> planned = bc.plan(parent="pt_m_wsd000", replay=0.25, schedule=bc.wsd(peak=1e-3, steps=3000))
    >>> bc.resolve(planned, curves).runs[["parent_step", "replay"]].loc["pt_m_wsd000_r025"].tolist()
    [1600.0, 0.25]
    """
    names = plan.runs.cells["run"]
    if faults := list(_unknown_parents(plan.runs, {*names, *known.runs.index})):
        raise CurvesError(plan.source, faults)
    runs = plan.runs._replace(cells=_with_parent_steps(plan, known))
    planned = curves_from_cells(plan.source, {"runs": (runs, []), "lr": (plan.lr, [])}, known.without(names))
    still = [run for run in planned.records if not planned.learning_rate(run).any()]
    if still:
        raise CurvesError(plan.source, [f"the learning rate of {listed(still)} is 0 throughout: use one above 0"])
    going_on = planned.runs.index.intersection(known.runs.index)
    if faults := [fault for run in going_on for fault in _differences(planned, known, run)]:
        raise CurvesError(plan.source, faults)
    return replace(planned, runs=_with_inherited(planned, known))


def _with_inherited(planned: Curves, known: Curves) -> pd.DataFrame:
    """Fill in missing model sizes and batches of planned runs from the data or from their ancestors."""
    everyone = family(planned, known)
    filled = planned.runs.copy()
    for column in ("model_size", "batch_tokens"):
        given = {run: getattr(record, column) for run, record in everyone.records.items()}
        recorded = {run: getattr(record, column) for run, record in known.records.items()}
        filled[column] = [
            next((value for value in _stated(everyone, given, recorded, str(run)) if pd.notna(value)), np.nan)
            for run in filled.index
        ]
    return filled


def _stated(everyone: Curves, given: Mapping[str, float], recorded: Mapping[str, float], run: str) -> Iterator[float]:
    """Yield the value of a run in the plan, its value in the data, and those of its ancestors, nearest first."""
    yield given[run]
    yield recorded.get(run, np.nan)
    yield from (given[name] for name in reversed(everyone.lineage(run).ancestors))


def _unknown_parents(runs: Cells, names: set[str]) -> Iterator[str]:
    parents = runs.cells["parent"]
    for parent in parents[(parents != "") & ~parents.isin(names)].unique():
        known = sorted(filter(None, names - set(runs.cells["run"])))
        # runs of a grid are named after their parent, so its children are not a useful hint
        likely = names - set(runs.cells["run"][parents == parent])
        yield f"{runs.name}: no run is named {quoted(parent)}{hint(parent, likely)}; parents may be {listed(known)}"


def _with_parent_steps(plan: Plan, known: Curves) -> pd.DataFrame:
    """Return the cells of ``runs``, with the last step of the parent where ``parent_step`` is empty."""
    cells, lr = plan.runs.cells, plan.lr.cells
    ends = known.lr.groupby("run")["step"].max().to_dict()
    ends |= pd.to_numeric(lr["step"], errors="coerce").groupby(lr["run"]).max().to_dict()
    last = cells["parent"].map(ends).astype(object).fillna("")
    return cells.assign(parent_step=cells["parent_step"].where(cells["parent_step"] != "", last))


def _differences(planned: Curves, known: Curves, run: str) -> Iterator[str]:
    """Yield how a planned run differs from the run of that name in the data."""
    which = f"run {run!r} is in the data, so the plan continues it (give a new run another name)"
    before, now = _identity(known, run), _identity(planned, run)
    for column in before:
        if before[column] != now[column]:
            yield f"{which}: its {column} must stay {before[column]}, not {now[column]}"
    recorded, new = known.learning_rate(run), planned.learning_rate(run)
    if new.size < recorded.size:
        yield f"{which}: its schedule must reach the recorded end, step {recorded.size}, not stop at {new.size}"
    both = min(new.size, recorded.size)
    differs = np.abs(new[:both] - recorded[:both]) > LEARNING_RATE_TOLERANCE * recorded.max()
    if differs.any():
        first = int(differs.argmax())
        yield f"{which}: its LR at step {first + 1} must be the recorded {recorded[first]:.7g}, not {new[first]:.7g}"


def _identity(curves: Curves, run: str) -> dict[str, str]:
    """Return what must not change when a run is continued."""
    columns = ("phase", "parent", "parent_step", "replay")
    return {column: str(curves.runs[column].astype(object).fillna("none")[run]) for column in columns}
