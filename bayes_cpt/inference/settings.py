"""Settings of the sampler: numbers of draws, warm-up draws and chains, and the seed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict


class SamplerOptions(TypedDict, total=False):
    """Keyword arguments of `bayes_cpt.fit` and other functions that sample: the fields of `SamplerSettings`."""

    draws: int
    tune: int
    chains: int
    seed: int
    progress: bool


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of the sampler.

    Parameters
    ----------
    draws
        Draws per chain that are kept.
    tune
        Warm-up draws per chain, which are not kept.
    chains
        Number of chains, each with its own start.
    seed
        Seed of the random numbers. The same seed on the same machine gives the same draws.
    progress
        Whether to show a progress bar.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.SamplerSettings(seed=7)
    SamplerSettings(draws=1000, tune=300, chains=4, seed=7, progress=True)
    """

    draws: int = 1000
    tune: int = 300
    chains: int = 4
    seed: int = 1
    progress: bool = True

    def changed(self, options: Mapping[str, Any]) -> "SamplerSettings":
        """Return settings with other values of some fields.

        Raises
        ------
        TypeError
            If an option is none of the fields.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                raise TypeError(f"unexpected argument {name!r}; options of the sampler are {', '.join(known)}")
        return replace(self, **options)


DEFAULTS = SamplerSettings()
REFIT = SamplerSettings(draws=400, tune=300, chains=2, progress=False)
"""Settings of the many fits of a backtest or comparison: fewer draws than for a fit that is used."""
