"""Reading files that users give, and writing files whole or not at all."""

import csv
import io
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayes_cpt.errors import DataError, path_shown

if TYPE_CHECKING:
    import pandas as pd

TEMPORARY = ".bayes-cpt-"
"""First letters of the name of a temporary folder."""
LARGEST_TEXT = 500_000_000
"""Number of bytes of the largest text file that is read."""


# Reading -------------------------------------------------------------------------------------------------------------


def is_file(path: str | Path) -> bool:
    """Return whether there is a regular file; False where no path of this name is possible."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def read_text(path: str | Path) -> str:
    """Return the text of a file.

    Raises
    ------
    DataError
        If there is no regular file, it cannot be read, is too large, or is not UTF-8: what "it" is, without its name.
    """
    try:
        if not Path(path).is_file():
            raise DataError("it is no file")
        if (size := Path(path).stat().st_size) > LARGEST_TEXT:
            raise DataError(f"it has {size:,} bytes; at most {LARGEST_TEXT:,} are read")
        return Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")
    except OSError as error:
        raise DataError(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        where = f"byte 0x{byte:02x} at byte offset {error.start}"
        raise DataError(f"it is not UTF-8: {where}; save it as UTF-8") from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return a TOML document.

    Raises
    ------
    DataError
        If the text is no TOML, is nested too deeply, or has numbers of thousands of digits; the message has no file.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise DataError("values are nested too deeply") from error
    except ValueError as error:  # tomllib.TOMLDecodeError is one, and so is an integer of thousands of digits
        raise DataError(str(error).partition(";")[0]) from error


def read_table(path: str | Path, columns: Sequence[str], right: str) -> "pd.DataFrame":
    """Return a CSV file with a header as text, "" where a cell is empty.

    Parameters
    ----------
    path
        The file.
    columns
        Columns that it must have, and rows; further ones are kept.
    right
        What the message says of another table, for example ``is not a table of scores``.

    Raises
    ------
    DataError
        If the file cannot be read, is not CSV, or lacks a column or rows.
    """
    import pandas as pd  # noqa: PLC0415 - takes time to load

    try:
        cells = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        filled = [row for row in cells if row]
    except (DataError, csv.Error) as error:
        raise DataError(f"{path_shown(path)} cannot be read as CSV: {error}") from error
    if not filled:
        raise DataError(f"{path} cannot be read as CSV: it is empty")
    header, *rows = filled
    missing = [name for name in columns if header.count(name) != 1]
    if missing or not rows:
        raise DataError(f"{path} {right}: {', '.join(missing) or 'rows'} missing")
    uneven = next((place for place, row in enumerate(rows) if len(row) != len(header)), None)
    if uneven is not None:
        raise DataError(f"{path}: row {uneven + 2} has {len(rows[uneven])} cells, and the header {len(header)}")
    return pd.DataFrame(rows, columns=header, dtype=str)


# Writing -------------------------------------------------------------------------------------------------------------


def check_target(path: str | Path) -> None:
    """Refuse a path that cannot be written to, before the work is done whose result it is for.

    Raises
    ------
    DataError
        If it is a folder, a link, a device or another special file, its name is too long, or its folder cannot be
        made or written to.
    """
    with _folder_for(Path(path)):
        pass


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block ends without an error.

    Parameters
    ----------
    path
        File to write; its folder is made if it does not exist. Only a regular file is replaced.

    Raises
    ------
    DataError
        If the folder cannot be made or written to, or the path is no regular file.
    """
    target = Path(path)
    with _folder_for(target) as folder:
        temporary = folder / target.name
        yield temporary
        temporary.replace(target)


@contextmanager
def _folder_for(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a file to write."""
    shown = path_shown(target)
    try:
        if target.is_symlink() or (target.exists() and not target.is_file()):
            kind = "a link" if target.is_symlink() else "a folder" if target.is_dir() else "no regular file"
            raise DataError(f"cannot write {shown}: it is {kind}; give the name of a file")
        if not target.name:
            raise DataError(f"cannot write {shown}: give the name of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=TEMPORARY)
    except OSError as error:
        raise DataError(f"cannot write {shown}: {error.strerror}; give a path in a folder you may write to") from error
    with folder as name:
        yield Path(name)
