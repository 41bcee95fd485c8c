"""Whether ranks are uniform, by their whole cumulative distribution (Säilynoja et al. 2022, arXiv 2103.10522)."""

from functools import cache

import numpy as np
from scipy.stats import binom

from bayes_cpt._support.typing import FloatArray, IntArray

NULL_DRAWS = 20_000
"""Uniform samples that a sample of ranks is compared with."""


def uniformity(counts: IntArray, size: int) -> FloatArray:
    """Return p-values (samples,) of samples of ranks being uniform.

    The statistic is the smallest tail probability, over all places, of the ranks below it; its distribution for
    uniform ranks is found by simulation, once for all samples.

    Parameters
    ----------
    counts
        (samples, places) How many ranks lie below 1, 2, ..., places; ranks are 0 to places.
    size
        Ranks in each sample.
    """
    null = _null(size, counts.shape[1])
    # equal up to rounding: the statistic takes few values
    return (1 + np.searchsorted(null, _smallest_tail(counts, size) * (1 + 1e-9))) / (1 + null.size)


def band(size: int, places: int, level: float) -> FloatArray:
    """Return limits (2, places) of the share of ranks below 1, 2, ..., all kept with probability 1 - level."""
    threshold = np.quantile(_null(size, places), level)
    return binom.ppf([[threshold / 2], [1 - threshold / 2]], size, _expected(places)) / size


def holm(p: FloatArray) -> FloatArray:
    """Return p-values corrected for their number."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
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
    """Return the statistic of uniform samples, sorted."""
    random = np.random.default_rng(1)
    bins = random.multinomial(size, np.full(places + 1, 1 / (places + 1)), NULL_DRAWS)
    return np.sort(_smallest_tail(bins.cumsum(axis=1)[:, :-1], size))
