"""The forecast table: quantiles of the predicted loss per run, domain and step; and the points to forecast."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt._support.files import read_table
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError, quoted
from bayes_cpt.runs.schedule_checks import MOST_STEPS

LEVELS: Mapping[str, float] = MappingProxyType({"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95})
"""Quantiles of a forecast table, by column."""


def table(draws: xr.Dataset) -> pd.DataFrame:
    """Return the forecast table.

    Parameters
    ----------
    draws
        See `bayes_cpt.forecast`.

    Returns
    -------
    DataFrame
        One row per run, domain and step: ``mean``, ``q05``, ``q25``, ``q50``, ``q75``, ``q95`` of the measured loss
        (nats per token); ``extrapolates``, the settings in which the run is outside the range of the measured runs; if
        left-out runs recalibrated the width, ``recalibrated``, the factor.
        Pre-training runs have no rows of out-of-domain sets.

    Examples
    --------
    >>> import bayes_cpt as bc, numpy as np, xarray as xr
    >>> draws = xr.Dataset(
    ...     {"loss": (("chain", "draw", "run", "domain", "step"), np.linspace(2, 3, 5).reshape(1, 5, 1, 1, 1))},
    ...     coords={"run": ["a"], "domain": ["pt"], "step": [100], "extrapolates": ("run", [""])},
    ... )
    >>> bc.table(draws)[["run", "domain", "step", "mean", "q25", "q75"]].to_numpy().tolist()
    [['a', 'pt', 100, 2.5, 2.25, 2.75]]
    """
    steps, domains = draws["step"].to_numpy(), draws["domain"].to_numpy()
    factors = draws["recalibrated"].to_series() if "recalibrated" in draws.coords else pd.Series(1.0, domains)
    losses = draws["loss"].transpose("run", "domain", "step", "chain", "draw").to_numpy()

    def of_run(run: str, extrapolates: str, values: FloatArray) -> pd.DataFrame:
        kept = ~np.isnan(values[0, :, 0, 0])
        # quantiles of sorted draws take half the time
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
        rows = rows.assign(recalibrated=rows["domain"].map(factors)) if (factors != 1).any() else rows
        return rows[rows["mean"].notna()]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return pd.concat(
            pool.map(of_run, draws["run"].to_numpy(), draws["extrapolates"].to_numpy(), losses), ignore_index=True
        )


def read_points(path: str | Path) -> pd.DataFrame:
    """Read the points to forecast.

    Parameters
    ----------
    path
        CSV file with the columns run, step, domain; other columns are ignored.

    Returns
    -------
    DataFrame
        Columns run, step, domain, without duplicates.

    Raises
    ------
    DataError
        If the file cannot be read, has no rows, lacks a column, or a step is not an integer.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> points = bc.read_points(bc.shipped("data/microcpt") / "losses.csv")
    >>> list(points.columns)
    ['run', 'step', 'domain']
    """
    points = read_table(path, ("run", "step", "domain"), "must have rows with the columns run, step, domain")
    steps = pd.to_numeric(points["step"], errors="coerce").astype(float)
    wrong = (~(steps % 1 == 0) | (steps.abs() > MOST_STEPS)).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        found = quoted(points["step"].iloc[row])
        raise DataError(f"{path}: row {row + 2} has step {found}; it must be an integer of at most {MOST_STEPS:,}")
    return points.assign(step=steps.astype(np.int64))[["run", "step", "domain"]].drop_duplicates()
