"""Whether a sampler's draws can be trusted, and the table of parameters."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats.base.array import array_stats

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.inference.settings import SamplerSettings

R_HAT_LIMIT = 1.01
ESS_LIMIT = 400
DIVERGENT_LIMIT = 0.01
TAILS = ((0.05, 0.95), (0.11, 0.89))
"""Quantiles whose ESS the tail ESS is the smallest of: those of forecasts, and those of ArviZ's summary."""


class Convergence(NamedTuple):
    """Diagnostics of draws of several quantities, (quantities,) each."""

    r_hat: FloatArray
    bulk: FloatArray
    tail: FloatArray

    @property
    def converged(self) -> bool:
        """Whether all quantities are within the limits."""
        smallest = min(self.bulk.min(), self.tail.min())
        return bool(self.r_hat.max() <= R_HAT_LIMIT and smallest >= ESS_LIMIT)

    def __str__(self) -> str:
        """Return the worst numbers."""
        return f"R-hat {self.r_hat.max():.3f}, ESS {min(self.bulk.min(), self.tail.min()):.0f}"


def convergence(draws: FloatArray) -> Convergence:
    """Return the rank-normalised split R-hat, bulk ESS and tail ESS of draws (chain, draw, quantities)."""
    tails = [array_stats.ess(draws, chain_axis=0, draw_axis=1, method="tail", prob=prob) for prob in TAILS]
    found = (
        array_stats.rhat(draws, chain_axis=0, draw_axis=1),
        array_stats.ess(draws, chain_axis=0, draw_axis=1),
        np.min(tails, axis=0),
    )
    return Convergence(*(np.asarray(values) for values in found))


def diagnose(tree: xr.DataTree, watched: Sequence[Convergence], settings: SamplerSettings) -> tuple[bool, str]:
    """Return whether a sampler's draws can be trusted, and a sentence with the reasons.

    Parameters
    ----------
    tree
        The posterior.
    watched
        Diagnostics of parameters and of final losses of the fitted runs.
    settings
        Settings of the sampler.
    """
    table = summarise(tree, kind="diagnostics", round_to="none")
    for place, each in enumerate(watched):
        table.loc[f"the final losses ({place + 1})"] = {
            "r_hat": each.r_hat.max(),
            "ess_bulk": each.bulk.min(),
            "ess_tail": each.tail.min(),
        }
    worst, bulk, tail = table["r_hat"].max(), table["ess_bulk"].min(), table["ess_tail"].min()
    diverging = tree["sample_stats"]["diverging"].to_numpy()
    faults = []
    if not worst <= R_HAT_LIMIT:
        faults.append(f"chains disagree, most on {table['r_hat'].idxmax()}")
    if not min(bulk, tail) >= ESS_LIMIT:
        faults.append(f"too few effective draws, fewest of {table[['ess_bulk', 'ess_tail']].min(axis=1).idxmin()}")
    if diverging.mean() > DIVERGENT_LIMIT:
        faults.append("the sampler diverged")
    numbers = f"largest R-hat {worst:.3f}, smallest bulk ESS {bulk:.0f}, smallest tail ESS {tail:.0f}"
    if diverging.any():
        numbers += f", {int(diverging.sum())} divergences in {diverging.size} draws"
    if not faults:
        return True, f"converged ({numbers})"
    return False, f"NOT CONVERGED: {'; '.join(faults)} ({numbers}). Do not trust these intervals: {_advice(settings)}."


def _advice(settings: SamplerSettings) -> str:
    if settings.chains * settings.draws < 2 * ESS_LIMIT:
        return f"ask for more draws ({settings.chains} x {settings.draws} are too few for an ESS of {ESS_LIMIT})"
    longer = "use the default sampler" if settings.sampler == "nuts" else "give it more time (--seconds)"
    return f"{longer}, or use fewer parameters or tighter priors"


def modes_in_words(shares: Sequence[FloatArray]) -> str:
    """Return a clause that names the modes of a posterior with several, and nothing for one with a single mode.

    Parameters
    ----------
    shares
        By block of parameters, the shares of the draws that are nearest to each mode.
    """
    several = [share for share in shares if (share > 0).sum() > 1]
    listed = " and ".join(", ".join(f"{100 * each:.0f} %" for each in sorted(share)[::-1]) for share in several)
    return f"; the posterior has several modes, with shares of {listed} of the draws" if several else ""


def summarise(tree: xr.DataTree, **options: Any) -> pd.DataFrame:
    """Return ArviZ's summary of the parameters and coefficients that vary; options are those of ``az.summary``."""
    names = [str(name) for name in tree["posterior"].data_vars if not str(name).startswith("effect_")]
    # a coefficient that does not vary (C1 of an open checkpoint) has no diagnostics
    varying = [name for name in names if float(np.std(tree["posterior"][name].to_numpy())) > 0]
    return pd.DataFrame(az.summary(tree, var_names=varying, **options))
