"""Bands that cover whole curves: a simultaneous interval, rather than one for each point."""

import numpy as np
import xarray as xr

from bayes_cpt._support.typing import FloatArray


def whole_curve_interval(loss: xr.DataArray, level: float = 0.9) -> xr.Dataset:
    """Return a band in which a whole curve lies with a probability, unlike bands for single points.

    At each step, the band's ends lie by one and the same factor farther from the median than those of the interval of
    a single point. The factor is the smallest for which a share ``level`` of the draws lies inside at all steps.

    Parameters
    ----------
    loss
        Draws (chain, draw, step) of one run and domain, as ``loss`` of `bayes_cpt.forecast`; NaN at steps that are not
        forecast.
    level
        Probability of the whole curve, in (0, 1).

    Returns
    -------
    Dataset
        ``lower`` and ``upper`` (step), nats, at the steps that are forecast. Attribute ``factor``: how much wider than
        the interval of single points of the same level.

    References
    ----------
    Montiel Olea & Plagborg-Møller, *Simultaneous confidence bands*, Journal of Applied Econometrics 34, 2019.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> import bayes_cpt as bc
    >>> draws = np.random.default_rng(1).normal(2.0, 0.1, (4, 500, 30))
    >>> loss = xr.DataArray(draws, dims=("chain", "draw", "step"), coords={"step": range(30)})
    >>> band = bc.whole_curve_interval(loss, 0.9)
    >>> inside = ((loss >= band["lower"]) & (loss <= band["upper"])).all("step")
    >>> float(inside.mean()), band.attrs["factor"] > 1.5
    (0.9, True)
    """
    reached = loss.dropna("step", how="all").transpose("chain", "draw", "step")
    draws = reached.to_numpy().reshape(-1, reached.sizes["step"])
    low, middle, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    farthest = np.maximum(_widths(middle - draws, middle - low), _widths(draws - middle, high - middle)).max(axis=1)
    factor = float(np.quantile(farthest, level, method="inverted_cdf"))
    ends = {"lower": middle - factor * (middle - low), "upper": middle + factor * (high - middle)}
    coords = {"step": reached["step"]}
    return xr.Dataset({name: ("step", values) for name, values in ends.items()}, coords, {"factor": factor})


def _widths(distance: FloatArray, half_width: FloatArray) -> FloatArray:
    """Return distances in half-widths of an interval; 0 on the other side, and where the loss is known."""
    return np.where(half_width > 0, np.maximum(distance, 0) / np.where(half_width > 0, half_width, 1), 0.0)
