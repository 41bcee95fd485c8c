"""Settings of the sampler: which one, how many draws and chains, how long at most, and the seed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from bayes_cpt.errors import DataError, hint, quoted

SAMPLER_NAMES = ("tempered", "nuts")


RANGES = {
    "draws": (1, 1_000_000),
    "tune": (1, 1_000_000),
    "chains": (1, 1_000),
    "seconds": (0, 1_000_000_000),
    "seed": (0, 2**32 - 1),
}
"""Smallest and largest value of each number. All draws must fit into memory."""


class SamplerOptions(TypedDict, total=False):
    """Keyword arguments of `bayes_cpt.fit` and other functions that sample: the fields of `SamplerSettings`."""

    sampler: str
    draws: int
    tune: int
    chains: int
    seconds: float
    seed: int
    progress: bool


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of the sampler.

    Parameters
    ----------
    sampler
        ``tempered``, many chains at once, which runs until its draws have converged; or ``nuts``, the reference.
    draws
        Draws per chain that are kept.
    tune
        Warm-up draws per chain of ``nuts``; ``tempered`` adapts as long as it needs.
    chains
        Number of chains; with ``tempered``, of populations of chains, which are independent of each other.
    seconds
        Time after which ``tempered`` stops, converged or not.
    seed
        Seed of the random numbers. The same seed on the same machine gives the same draws.
    progress
        Whether to show a line of progress on a terminal.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.SamplerSettings(seed=7)
    SamplerSettings(sampler='tempered', draws=1000, tune=500, chains=4, seconds=300, seed=7, progress=True)
    """

    sampler: str = "tempered"
    draws: int = 1000
    tune: int = 500
    chains: int = 4
    seconds: float = 300
    seed: int = 1
    progress: bool = True

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DataError(f"{name} must be from {least:,} to {most:,}, not {quoted(value)}")
        if self.sampler not in SAMPLER_NAMES:
            known = " or ".join(SAMPLER_NAMES)
            raise DataError(f"unknown sampler {self.sampler!r}{hint(self.sampler, SAMPLER_NAMES)}: use {known}")

    def changed(self, options: Mapping[str, Any]) -> "SamplerSettings":
        """Return settings with other values of some fields.

        Raises
        ------
        TypeError
            If an option is none of the fields.
        DataError
            If the sampler is unknown.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                raise TypeError(f"unexpected argument {name!r}; options of the sampler are {', '.join(known)}")
        return replace(self, **options)


DEFAULTS = SamplerSettings()
REFIT = SamplerSettings(draws=400, seconds=60, progress=False)
"""Settings of the many fits of a backtest or comparison: fewer draws, in less time, than for a fit that is used."""
