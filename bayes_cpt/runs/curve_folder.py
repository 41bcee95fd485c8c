"""The curve folder: three CSV files read into `Curves`, checked, and written back."""

import csv
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pandas as pd

from bayes_cpt._support.files import replacing
from bayes_cpt.errors import CurvesError
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.tables import COLUMNS, KEYS, Cells, cells_of_frame, frames_of, pedigree, read_cells


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
    return curves_from_cells(str(folder), {kind: read_cells(folder / f"{kind}.csv", kind) for kind in COLUMNS})


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
    return curves_from_cells("DataFrames", {kind: cells_of_frame(frame, kind) for kind, frame in frames.items()}, known)


def curves_from_cells(
    source: str, found: Mapping[str, tuple[Cells | None, list[str]]], known: Curves | None = None
) -> Curves:
    """Check cells as `bayes_cpt.runs.tables` reads them; without losses they are a plan, as in `curves_from_frames`.

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
    with ExitStack() as written:
        for kind, table in _tables(curves).items():
            temporary = written.enter_context(replacing(Path(path) / f"{kind}.csv"))
            table.to_csv(temporary, index=False, lineterminator="\n", quoting=_quoting(table))


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
