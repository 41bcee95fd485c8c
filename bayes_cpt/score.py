"""How good a forecast table was, once the losses are measured."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayes_cpt.errors import DataError

LEVELS: Mapping[str, float] = MappingProxyType({"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95})
"""Columns of quantiles in a forecast table."""


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
    error = joined["loss"] - joined["mean"]
    pinball = [
        2 * np.maximum(level * (joined["loss"] - joined[name]), (level - 1) * (joined["loss"] - joined[name]))
        for name, level in LEVELS.items()
    ]
    points = joined.assign(
        mae=error.abs(),
        mse=error**2,
        wis=np.mean(pinball, axis=0),
        cover50=joined["loss"].between(joined["q25"], joined["q75"]),
        cover90=joined["loss"].between(joined["q05"], joined["q95"]),
        width90=joined["q95"] - joined["q05"],
    )
    groups = points.groupby(["run", "domain"])
    means = groups[["mae", "mse", "wis", "cover50", "cover90", "width90"]].mean()
    return means.assign(rmse=np.sqrt(means.pop("mse")), points=groups.size())
