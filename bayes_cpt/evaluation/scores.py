"""Scores of forecasts against measured losses."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from bayes_cpt._support.files import read_table
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.forecasting.forecast_table import LEVELS

NAMED = ("fold", "run", "domain", "leave")
NUMBERS = ("folds", "mae", "cover50", "cover90", "stretch")
WORDS = ("extrapolates", "untested")
TRUE_OR_FALSE = ("converged", "end50", "end90")
"""Columns that a table of scores must have; ``WORDS`` may be empty."""


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
        One row per run and domain: ``mae`` and ``rmse`` of the mean, ``wis`` (weighted interval score: twice the mean
        quantile loss over the levels), ``cover50`` and ``cover90`` (shares of points that the central intervals cover),
        ``width90`` (all but coverage in nats), ``points``.

    Raises
    ------
    DataError
        If no measured point was forecast.

    References
    ----------
    WIS: Bracher et al., *Evaluating epidemic forecasts in an interval format*, PLOS Computational Biology 17, 2021,
    arXiv 2005.12881.

    Examples
    --------
    >>> import pandas as pd
    >>> from bayes_cpt.evaluation.scores import score
    >>> losses = pd.DataFrame({"run": "a", "step": [10, 20], "domain": "pt", "loss": [2.0, 2.5]})
    >>> forecast = pd.DataFrame({"run": "a", "domain": "pt", "step": [10, 20], "mean": 2.1})
    >>> forecast = forecast.assign(q05=1.9, q25=2.05, q50=2.1, q75=2.15, q95=2.3)
    >>> score(forecast, losses)[["mae", "cover90"]].to_numpy().round(3).tolist()
    [[0.25, 0.5]]
    """
    joined = losses.merge(table, on=["run", "domain", "step"], validate="one_to_one")
    if joined.empty:
        raise DataError(
            "no (run, domain, step) of the losses is in the forecast; forecast the runs at their measured steps"
        )
    return averaged(_scored(joined))


def score_draws(draws: xr.Dataset, losses: pd.DataFrame) -> pd.DataFrame:
    """Score draws of a forecast at every measured point.

    Parameters
    ----------
    draws
        See `bayes_cpt.forecast`.
    losses
        Columns run, step, domain, loss; all of these points must be in the forecast.

    Returns
    -------
    DataFrame
        One row per point: run, domain, step, loss, mean, quantiles; ``error``, ``wis``, ``cover50``, ``cover80``,
        ``cover90``, ``width90`` as in `score`; ``crps``, the continuous ranked probability score of the empirical
        distribution of the draws (nats); ``pit``, the share of the draws below the loss, uniform if calibrated.

    References
    ----------
    CRPS: Gneiting & Raftery, *Strictly proper scoring rules, prediction, and estimation*, JASA 102, 2007, Eq. 21.
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
    """Return the draws of a forecast at measured points, (points, draws), sorted along the draws."""
    places = {name: xr.DataArray(losses[name].to_numpy(), dims="point") for name in ("run", "domain", "step")}
    values = draws["loss"].sel(places).transpose("point", "chain", "draw").to_numpy()
    return np.sort(values.reshape(len(losses), -1), axis=1)


def mean_distance(ordered: FloatArray) -> FloatArray:
    """Return the mean distance between two draws, (points,), of sorted draws (points, draws)."""
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
    """Average scored points within groups: the columns of `score`, and those of `score_draws` if present."""
    groups = points.assign(mae=points["error"].abs(), mse=points["error"] ** 2).groupby(list(by), sort=False)
    means = groups[["mse", *(name for name in MEANS if name == "mae" or name in points)]].mean()
    return means.assign(rmse=np.sqrt(means.pop("mse")), points=groups.size())


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read the table that ``bayes-cpt backtest`` wrote.

    Parameters
    ----------
    path
        The CSV file.

    Returns
    -------
    DataFrame
        As ``table`` of a `Backtest`.

    Raises
    ------
    DataError
        If the file does not exist, or is another table.

    Examples
    --------
    >>> print(bc.verdict(bc.read_scores("backtest.csv")))  # doctest: +SKIP
    """
    table = read_table(path, (*NAMED, *NUMBERS, *WORDS, *TRUE_OR_FALSE), "is not a table of bayes-cpt backtest")
    if wrong := [name for name in TRUE_OR_FALSE if not table[name].isin(["True", "False"]).all()]:
        raise DataError(f"{path} is not a table of bayes-cpt backtest: {', '.join(wrong)} must be True or False")
    known = {"mae", "wis", "crps", "cover50", "cover80", "cover90", "width90", "rmse", "points", *NUMBERS} & set(table)
    numbers = {name: pd.to_numeric(table[name], errors="coerce").astype(float) for name in sorted(known)}
    if wrong := [name for name, values in numbers.items() if not np.isfinite(values).all()]:
        raise DataError(f"{path} is not a table of bayes-cpt backtest: {', '.join(wrong)} must be numbers")
    return table.assign(**numbers, **{name: table[name] == "True" for name in TRUE_OR_FALSE})
