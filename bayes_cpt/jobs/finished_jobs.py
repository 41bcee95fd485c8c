"""Results of finished jobs on disk, so that work that was stopped can go on from there.

A folder has ``key.json``, which says what the work is, and one file per finished job. A file is a NumPy archive: it
holds numbers exactly, its checksums reveal damage, and reading it runs no code. Each holds the digest of the key, so
that a result of other work is never read.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayes_cpt._support.files import TEMPORARY, replacing
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.runs.curve_folder import digest
from bayes_cpt.runs.curves import Curves
from bayes_cpt.statistical_model.model_files import ModelSpec

KEY = "key.json"
LONG = 40
"""Length of a value of a key, for example a digest, from which on a message does not show it."""

type Key = Mapping[str, str | float | None]
"""What results depend on: by name, a value or a digest."""


def key_of(
    work: str, curves: Curves, specs: Iterable[ModelSpec], settings: SamplerSettings, **others: str | float | None
) -> Key:
    """Return the key of work on curves: all that its results depend on.

    Parameters
    ----------
    work
        Its name, for example ``backtest``.
    curves, specs, settings
        The data, the models, and the settings of the sampler.
    **others
        Further options.
    """
    sampler = {name: value for name, value in asdict(settings).items() if name != "progress"}
    models = {f"model {spec.name}": _digest([spec.text, *_rounded(spec.law.fingerprint())]) for spec in specs}
    return {"work": work, "bayes-cpt": version("bayes-cpt"), "data": digest(curves), **models, **others, **sampler}


def _rounded(numbers: Iterable[float]) -> list[str]:
    """Round numbers of a fingerprint, of which the last digits differ from machine to machine."""
    return [f"{number:.6g}" for number in numbers]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class FinishedJobs[T]:
    """A folder with results of finished jobs; `begin` opens one.

    Parameters
    ----------
    folder
        The folder.
    kind
        Type of a result: a NamedTuple of tables and arrays.
    digest
        Digest of the key.
    """

    folder: Path
    kind: type[T]
    digest: str

    def read(self, names: Iterable[str]) -> dict[str, T]:
        """Return the results that are there; files that are damaged, or of other work, are passed over."""
        found = {name: self._read(name) for name in names}
        return {name: result for name, result in found.items() if result is not None}

    def write(self, name: str, result: T) -> None:
        """Write the result of a job, whole or not at all."""
        arrays: dict[str, Any] = {"name": np.array(name), "key": np.array(self.digest)}
        for part, value in result._asdict().items():  # pyright: ignore[reportAttributeAccessIssue] - a NamedTuple
            arrays |= _arrays(part, value)
        with replacing(self._path(name)) as temporary:
            np.savez(temporary, **arrays)

    def _read(self, name: str) -> T | None:
        try:
            with np.load(BytesIO(self._path(name).read_bytes()), allow_pickle=False) as file:
                arrays = dict(file)
            if (str(arrays.pop("name")), str(arrays.pop("key"))) != (name, self.digest):
                return None
            return self.kind(**_parts(arrays))
        except Exception:  # a damaged file may raise nearly anything
            return None

    def _path(self, name: str) -> Path:
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:60]
        return self.folder / f"{words}-{_digest(name)[:12]}.npz"


def begin[T](folder: str | Path, kind: type[T], key: Key, resume: bool) -> FinishedJobs[T]:
    """Open the folder of results for work that starts, or goes on.

    Parameters
    ----------
    folder
        The folder; made if it does not exist.
    kind
        Type of a result: a NamedTuple of tables and arrays.
    key
        What the results depend on.
    resume
        Whether to keep the results that are there; otherwise they are deleted.

    Raises
    ------
    DataError
        If results are to be kept, but are of other work; if there are files that are no results; or if the folder
        cannot be written to.
    """
    path = Path(folder)
    if resume and (path / KEY).exists():
        _check_same(path, key)
    else:
        _check_own(path)
        _delete_results(path)
    with replacing(path / KEY) as temporary:
        temporary.write_text(json.dumps(key, indent=1), encoding="utf-8")
    return FinishedJobs(path, kind, _digest(key))


def remove(folder: str | Path) -> None:
    """Delete a folder of results, if it is there; files that are no results stay."""
    path = Path(folder)
    if (path / KEY).is_file():
        _delete_results(path)
        (path / KEY).unlink()  # last: what was stopped half-way can be removed again
        if not any(path.iterdir()):
            path.rmdir()


def _check_own(path: Path) -> None:
    """Refuse a folder that was not made by `begin`, since files in it are deleted."""
    if path.exists() and not (path / KEY).is_file() and (not path.is_dir() or any(path.glob("[!.]*"))):
        raise DataError(f"{path} has other files than results of finished folds: move it, or write to another place")


def _check_same(path: Path, key: Key) -> None:
    try:
        before = dict(json.loads((path / KEY).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path / KEY} cannot be read: start anew, without --resume") from error
    other = [_difference(name, before, key) for name in {**before, **key} if before.get(name) != key.get(name)]
    if other:
        raise DataError(
            f"cannot resume from {path}, begun with other values: {', '.join(other)}; repeat that command, or start "
            "anew without --resume"
        )


def _difference(name: str, before: Key, now: Key) -> str:
    values = [str(key.get(name, "none")) for key in (before, now)]
    return name if max(map(len, values)) >= LONG else f"{name} {values[0]}, now {values[1]}"


def _delete_results(path: Path) -> None:
    """Delete results, and what a process that was killed left of one."""
    for file in path.glob("*.npz"):
        file.unlink()
    for folder in path.glob(f"{TEMPORARY}*"):
        shutil.rmtree(folder)


# Tables as arrays ----------------------------------------------------------------------------------------------------


def _arrays(part: str, value: pd.DataFrame | FloatArray) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of a table, or an array, as arrays without objects."""
    if not isinstance(value, pd.DataFrame):
        return {part: value}
    return {f"{part}.{name}": _plain(column) for name, column in value.items()}


def _plain(column: "pd.Series[Any]") -> np.ndarray[Any, Any]:
    return column.to_numpy() if column.dtype.kind in "biuf" else column.to_numpy(str)


def _parts(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Put together what `_arrays` took apart."""
    tables: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name, values in arrays.items():
        part, _dot, column = name.partition(".")
        tables.setdefault(part, {})[column] = values
    return {part: found[""] if "" in found else pd.DataFrame(found) for part, found in tables.items()}
