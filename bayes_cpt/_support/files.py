"""Atomic file writing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bayes_cpt.errors import DataError

TEMPORARY = ".bayes-cpt-"
"""First letters of the name of a temporary folder."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` if the block ends without an error.

    Parameters
    ----------
    path
        File to write; its folder is made if it does not exist.

    Raises
    ------
    DataError
        If the folder cannot be made or written to.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=target.parent, prefix=TEMPORARY)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror}; give a path in a folder you may write to") from error
    with folder as name:
        temporary = Path(name) / target.name
        yield temporary
        temporary.replace(target)
