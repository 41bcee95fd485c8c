"""What a sampler is told: how many draws, chains and warm-up draws, and the seed."""

from dataclasses import dataclass
from typing import TypedDict


class SamplerOptions(TypedDict, total=False):
    """Keyword arguments that `bayes_cpt.fit` and its like take: the fields of `SamplerSettings`."""

    draws: int
    tune: int
    chains: int
    seed: int
    progress: bool


@dataclass(frozen=True)
class SamplerSettings:
    """Options of the sampler.

    Parameters
    ----------
    draws
        Draws of each chain that are kept.
    tune
        Warm-up draws of each chain, which are not.
    chains
        Chains, each from a start of its own.
    seed
        Same seed, same machine: same draws.
    progress
        Whether to show a progress bar.
    """

    draws: int = 1000
    tune: int = 300
    chains: int = 4
    seed: int = 1
    progress: bool = True


DEFAULTS = SamplerSettings()
REFIT = SamplerSettings(draws=400, tune=300, chains=2, progress=False)
"""Of fits that are made many times over, to be scored: fewer draws than a fit for use needs."""
