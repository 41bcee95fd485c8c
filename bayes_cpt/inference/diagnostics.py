"""Whether a sampler's draws can be trusted, and the table of parameters."""

from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

R_HAT_LIMIT = 1.02
ESS_LIMIT = 200
DIVERGENT_LIMIT = 0.01


def diagnose(tree: xr.DataTree) -> tuple[bool, str]:
    """Return whether a sampler's draws can be trusted, and a sentence with the reasons."""
    table = summarise(tree, kind="diagnostics", round_to="none")
    worst, bulk, tail = table["r_hat"].max(), table["ess_bulk"].min(), table["ess_tail"].min()
    diverging = tree["sample_stats"]["diverging"].to_numpy()
    faults = []
    if not worst <= R_HAT_LIMIT:
        faults.append(f"chains disagree on {table['r_hat'].idxmax()}")
    if not min(bulk, tail) >= ESS_LIMIT:
        faults.append(f"too few effective draws of {table[['ess_bulk', 'ess_tail']].min(axis=1).idxmin()}")
    if diverging.mean() > DIVERGENT_LIMIT:
        faults.append("the sampler diverged")
    numbers = (
        f"largest R-hat {worst:.3f}, smallest bulk ESS {bulk:.0f}, smallest tail ESS {tail:.0f}, "
        f"{int(diverging.sum())} divergences in {diverging.size} draws"
    )
    if faults:
        advice = "sample longer (--draws, --tune), or use fewer parameters or tighter priors"
        return False, f"NOT CONVERGED: {'; '.join(faults)} ({numbers}). Do not trust these intervals: {advice}."
    return True, f"converged ({numbers})"


def summarise(tree: xr.DataTree, **options: Any) -> pd.DataFrame:
    """Return ArviZ's summary of the parameters and coefficients that vary; options are those of ``az.summary``."""
    names = [str(name) for name in tree["posterior"].data_vars if not str(name).startswith("effect_")]
    # a coefficient that does not vary (C1 of an open checkpoint) has no diagnostics
    varying = [name for name in names if float(np.std(tree["posterior"][name].to_numpy())) > 0]
    return pd.DataFrame(az.summary(tree, var_names=varying, **options))
