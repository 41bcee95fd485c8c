"""The forecast table: quantiles of the predicted loss at each run, domain and step."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError

LEVELS: Mapping[str, float] = MappingProxyType({"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95})
"""Columns of quantiles in a forecast table."""


def table(draws: xr.Dataset) -> pd.DataFrame:
    """Return the forecast table: run, domain, step, mean and quantiles of the predicted loss.

    A last column, ``extrapolates``, says in what a run lies outside the range of the measured ones. Pre-training runs
    have no rows of out-of-domain sets.
    """
    steps, domains = draws["step"].to_numpy(), draws["domain"].to_numpy()
    losses = draws["loss"].transpose("run", "domain", "step", "chain", "draw").to_numpy()

    def of_run(run: str, extrapolates: str, values: FloatArray) -> pd.DataFrame:
        kept = ~np.isnan(values[0, :, 0, 0])
        # sorted first, the quantiles are found in half the time
        ordered = np.sort(values[:, kept].reshape(len(domains), kept.sum(), -1), axis=-1)
        quantiles = np.quantile(ordered, list(LEVELS.values()), axis=-1).reshape(len(LEVELS), -1)
        rows = pd.DataFrame(
            {
                "run": run,
                "domain": np.repeat(domains, kept.sum()),
                "step": np.tile(steps[kept], len(domains)),
                "mean": ordered.mean(axis=-1).ravel(),
                **dict(zip(LEVELS, quantiles, strict=True)),
                "extrapolates": extrapolates,
            }
        )
        return rows[rows["mean"].notna()]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return pd.concat(
            pool.map(of_run, draws["run"].to_numpy(), draws["extrapolates"].to_numpy(), losses), ignore_index=True
        )


def read_points(path: str | Path) -> pd.DataFrame:
    """Read the points that a forecast is wanted at: columns run, step, domain of a CSV (more are left aside).

    Raises
    ------
    DataError
        If the file cannot be read, or a step is not a whole number.
    """
    try:
        points = pd.read_csv(path, dtype={"run": str, "domain": str})
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from error
    missing = [name for name in ("run", "step", "domain") if name not in points]
    if missing or points.empty:
        raise DataError(
            f"{path}: needs rows with the columns run, step, domain; {', '.join(missing) or 'rows'} missing"
        )
    steps = pd.to_numeric(points["step"], errors="coerce")
    wrong = (steps.isna() | (steps % 1 != 0)).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{path}: row {row + 2} has step {points['step'].iloc[row]!r}: it must be a whole number")
    return points.assign(step=steps.astype(np.int64))[["run", "step", "domain"]].drop_duplicates()
