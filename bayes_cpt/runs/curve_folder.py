"""Read, check and write a curve folder: three CSV files."""

import csv
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pandas as pd

from bayes_cpt._support.domain_names import OWN_ROLES
from bayes_cpt._support.files import replacing
from bayes_cpt.errors import CurvesError
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.table_checks import COLUMNS, KEYS, Cells, cells_of_frame, frames_of, pedigree, read_cells


def read_curves(path: str | Path, pt: str | None = None, cpt: str | None = None) -> Curves:
    """Read and check a curve folder.

    Parameters
    ----------
    path
        Folder with ``runs.csv``, ``lr.csv`` and ``losses.csv``.
    pt, cpt
        Names, in ``losses.csv``, of the domains of the old and of the new data, if they are not ``pt`` and ``cpt``. All
        that is made of these curves (fits, forecasts, decisions, figures) goes by these names.

    Returns
    -------
    Curves
        Rows in the order of the files.

    Raises
    ------
    CurvesError
        With all faults of the folder: file, row (the header is row 1), column, value, and what would be right.
    DataError
        If ``pt`` or ``cpt`` is not a domain of the folder.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.read_curves(bc.shipped("data/microcpt"))
    >>> len(curves.runs)
    17
    >>> sorted(curves.losses["domain"].unique())
    ['cpt', 'de', 'doc', 'eng', 'pt']
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CurvesError(str(folder), ["no such folder; give a folder with " + ", ".join(f"{k}.csv" for k in COLUMNS)])
    cells = {kind: read_cells(folder / f"{kind}.csv", kind) for kind in COLUMNS}
    return curves_from_cells(str(folder), cells).with_names(pt, cpt)


def curves_from_frames(
    runs: pd.DataFrame, lr: pd.DataFrame, losses: pd.DataFrame | None = None, known: Curves | None = None
) -> Curves:
    """Check DataFrames with the columns of a curve folder.

    Parameters
    ----------
    runs
        Columns of ``runs.csv``; may be indexed by run.
    lr
        Columns of ``lr.csv``.
    losses
        Columns of ``losses.csv``; None for a plan.
    known
        Further runs that may be parents.

    Returns
    -------
    Curves
        Rows in the order of the frames.

    Raises
    ------
    CurvesError
        With all faults; rows are counted from 0.

    Examples
    --------
    >>> import bayes_cpt as bc, pandas as pd
    >>> runs = pd.DataFrame({"run": ["pt"], "phase": ["pt"], "parent": [None], "parent_step": [None], "replay": [None]})
    >>> lr = pd.DataFrame({"run": "pt", "step": [1, 3], "lr": [1e-3, 0.0]})
    >>> bc.curves_from_frames(runs, lr).learning_rate("pt")
    array([0.001 , 0.0005, 0.    ])
    """
    frames = {"runs": runs, "lr": lr} | ({} if losses is None else {"losses": losses})
    return curves_from_cells("DataFrames", {kind: cells_of_frame(frame, kind) for kind, frame in frames.items()}, known)


def curves_from_cells(
    source: str, found: Mapping[str, tuple[Cells | None, list[str]]], known: Curves | None = None
) -> Curves:
    """Check cells read by `bayes_cpt.runs.table_checks`; without losses they are a plan, as in `curves_from_frames`.

    Raises
    ------
    CurvesError
        With all faults, under the name of the ``source``.
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
    """Write a curve folder; reading it gives the same values. Each file is written completely or not at all.

    Parameters
    ----------
    curves
        Runs to write.
    path
        The folder; made if it does not exist.

    Raises
    ------
    DataError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> import bayes_cpt as bc, tempfile
    >>> curves = bc.select(bc.read_curves(bc.shipped("data/microcpt")), "model_size == 332448")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     bc.write_curves(curves, folder)
    ...     len(bc.read_curves(folder).runs)
    14
    """
    with ExitStack() as written:
        for kind, table in _tables(curves).items():
            temporary = written.enter_context(replacing(Path(path) / f"{kind}.csv"))
            table.to_csv(temporary, index=False, lineterminator="\n", quoting=_quoting(table))


def _quoting(table: pd.DataFrame) -> Literal[0, 2]:
    """Return how to quote: all text if a carriage return is in it, which Python's csv would otherwise not quote."""
    text = table.select_dtypes(["str", "object"]).astype("str")
    return csv.QUOTE_NONNUMERIC if any(text[name].str.contains("\r").any() for name in text) else csv.QUOTE_MINIMAL


def digest(curves: Curves) -> str:
    """Return the SHA-256 of the documented columns, whatever the order of rows and the format of numbers."""
    total = hashlib.sha256()
    for kind, table in _tables(curves).items():
        ordered = table[list(COLUMNS[kind])].sort_values(KEYS[kind])
        total.update(ordered.to_csv(index=False, lineterminator="\n").encode())
    if curves.names != OWN_ROLES:
        total.update(repr(curves.names).encode())
    return total.hexdigest()
