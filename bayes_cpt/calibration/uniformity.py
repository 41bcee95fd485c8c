"""Tests of uniform ranks by their cumulative distribution (Säilynoja et al. 2022, arXiv 2103.10522)."""

from functools import cache

import numpy as np
from scipy.stats import binom

from bayes_cpt._support.typing import FloatArray, IntArray

NULL_DRAWS = 20_000
"""Number of uniform samples that simulate the null distribution."""


def uniformity(counts: IntArray, size: int) -> FloatArray:
    """Return p-values (samples,) of the hypothesis that ranks are uniform.

    The statistic is the smallest tail probability, over all places, of the number of ranks below. Its distribution
    under uniform ranks is simulated once for all samples.

    Parameters
    ----------
    counts
        (samples, places) Numbers of ranks below 1, 2, ..., places; ranks are 0 to places.
    size
        Number of ranks in each sample.
    """
    null = _null(size, counts.shape[1])
    # the statistic takes few values, which must compare equal despite rounding errors
    return (1 + np.searchsorted(null, _smallest_tail(counts, size) * (1 + 1e-9))) / (1 + null.size)


def band(size: int, places: int, level: float) -> FloatArray:
    """Return simultaneous limits (2, places) of the shares of ranks below 1, 2, ... with probability 1 - level."""
    threshold = np.quantile(_null(size, places), level)
    return binom.ppf([[threshold / 2], [1 - threshold / 2]], size, _expected(places)) / size


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values corrected for their number (Holm 1979)."""
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(p_values.size, 0, -1))
    return np.minimum(stepped, 1)[np.argsort(order)]


def _expected(places: int) -> FloatArray:
    return np.arange(1, places + 1) / (places + 1)


def _smallest_tail(counts: IntArray, size: int) -> FloatArray:
    below = np.arange(size + 1)[:, None]
    expected = _expected(counts.shape[1])
    tails = 2 * np.minimum(binom.cdf(below, size, expected), binom.sf(below - 1, size, expected))
    return tails[counts, np.arange(counts.shape[1])].min(axis=1)


@cache
def _null(size: int, places: int) -> FloatArray:
    """Return the sorted statistics of uniform samples."""
    random = np.random.default_rng(1)
    bins = random.multinomial(size, np.full(places + 1, 1 / (places + 1)), NULL_DRAWS)
    return np.sort(_smallest_tail(bins.cumsum(axis=1)[:, :-1], size))
