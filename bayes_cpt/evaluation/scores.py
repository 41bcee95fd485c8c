"""How good a forecast was, once the losses are measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.forecasting.table import LEVELS


def score(table: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """Score a forecast table against measured losses.

    Parameters
    ----------
    table
        Columns run, domain, step, mean and those of ``LEVELS``.
    losses
        Columns run, step, domain, loss.

    Returns
    -------
    DataFrame
        One row a (run, domain): ``mae`` and ``rmse`` of the mean, ``wis`` (weighted interval score: twice the mean
        quantile loss over the levels; Bracher et al. 2021), ``cover50`` and ``cover90`` (shares of points that the
        central intervals hold), ``width90``, ``points``.

    Raises
    ------
    DataError
        If no measured point was forecast.
    """
    joined = losses.merge(table, on=["run", "domain", "step"], validate="one_to_one")
    if joined.empty:
        raise DataError("no (run, domain, step) of the losses is in the forecast")
    return averaged(_scored(joined))


def score_draws(draws: xr.Dataset, losses: pd.DataFrame) -> pd.DataFrame:
    """Score draws of a forecast at every measured point.

    Parameters
    ----------
    draws
        As `bayes_cpt.forecasting.forecast.forecast` gives.
    losses
        Columns run, step, domain, loss; each was forecast.

    Returns
    -------
    DataFrame
        One row a point: run, domain, step, loss, mean, quantiles; ``error``, ``wis``, ``cover50``, ``cover80``,
        ``cover90``, ``width90`` as in `score`; ``crps`` (continuous ranked probability score, by the draws' own
        distribution; Gneiting & Raftery 2007); ``pit``, the share of the draws below the loss: uniform if calibrated.
    """
    ordered = ordered_draws(draws, losses)
    loss = losses["loss"].to_numpy()[:, None]
    quantiles = np.quantile(ordered, [*LEVELS.values(), 0.1, 0.9], axis=1)
    points = losses[["run", "domain", "step", "loss"]].assign(
        mean=ordered.mean(axis=1), **dict(zip(LEVELS, quantiles, strict=False))
    )
    return _scored(points).assign(
        cover80=(losses["loss"] >= quantiles[-2]) & (losses["loss"] <= quantiles[-1]),
        crps=np.abs(ordered - loss).mean(axis=1) - mean_distance(ordered) / 2,
        pit=(ordered < loss).mean(axis=1),
    )


def ordered_draws(draws: xr.Dataset, losses: pd.DataFrame) -> FloatArray:
    """Return the draws of a forecast at measured points, (points, draws), from the smallest to the largest."""
    places = {name: xr.DataArray(losses[name].to_numpy(), dims="point") for name in ("run", "domain", "step")}
    values = draws["loss"].sel(places).transpose("point", "chain", "draw").to_numpy()
    return np.sort(values.reshape(len(losses), -1), axis=1)


def mean_distance(ordered: FloatArray) -> FloatArray:
    """Return the mean distance of two draws (points,), of draws (points, draws) in order."""
    count = ordered.shape[1]
    return 2 * ordered @ (2 * np.arange(1, count + 1) - count - 1) / count**2


def _scored(points: pd.DataFrame) -> pd.DataFrame:
    """Add the scores of each point to its loss, mean and quantiles."""
    error = points["loss"] - points["mean"]
    pinball = [
        2 * np.maximum(level * (points["loss"] - points[name]), (level - 1) * (points["loss"] - points[name]))
        for name, level in LEVELS.items()
    ]
    return points.assign(
        error=error,
        wis=np.mean(pinball, axis=0),
        cover50=points["loss"].between(points["q25"], points["q75"]),
        cover90=points["loss"].between(points["q05"], points["q95"]),
        width90=points["q95"] - points["q05"],
    )


MEANS = ("mae", "wis", "crps", "cover50", "cover80", "cover90", "width90")


def averaged(points: pd.DataFrame, by: Sequence[str] = ("run", "domain")) -> pd.DataFrame:
    """Average scored points within groups: the columns of `score`, and of `score_draws` where they are there."""
    groups = points.assign(mae=points["error"].abs(), mse=points["error"] ** 2).groupby(list(by), sort=False)
    means = groups[["mse", *(name for name in MEANS if name == "mae" or name in points)]].mean()
    return means.assign(rmse=np.sqrt(means.pop("mse")), points=groups.size())
