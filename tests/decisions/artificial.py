"""Artificial forecasts whose decisions are known by hand."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

TRANSFER = {"pt": 2.0, "cpt": 3.0}


def forecast(changes: Mapping[str, Mapping[str, Sequence[float]]], end_step: Sequence[int] | None = None) -> xr.Dataset:
    """Forecast with the given draws of the change by run and domain at the end of each run, and noise before it."""
    runs, domains = list(changes), list(next(iter(changes.values())))
    change = np.array([[changes[run][domain] for run in runs] for domain in domains])  # (domain, run, draw)
    transfer = np.array([TRANSFER[domain] for domain in domains])
    ends = np.full(len(runs), 100) if end_step is None else np.asarray(end_step)
    steps = np.array([0, 50, *np.unique(ends[ends > 50])])
    final = (transfer[:, None, None] + change).transpose(2, 1, 0)[None]  # (chain, draw, run, domain)
    loss = np.random.default_rng(0).normal(5, 1, (*final.shape, steps.size))
    loss[:] = np.where(steps > ends[:, None, None], np.nan, loss)
    np.put_along_axis(loss, np.searchsorted(steps, ends)[None, None, :, None, None], final[..., None], axis=-1)
    return xr.Dataset(
        {
            "loss": (("chain", "draw", "run", "domain", "step"), loss),
            "transfer_loss": (("chain", "draw", "run", "domain"), np.broadcast_to(transfer, final.shape)),
        },
        {
            "run": runs,
            "domain": domains,
            "step": steps,
            "replay": ("run", np.linspace(0, 0.5, len(runs))),
            "peak": ("run", np.full(len(runs), 1e-3)),
            "end_step": ("run", ends),
            "parent": ("run", ["base"] * len(runs)),
        },
        {"warning": ""},
    )


FOUR_DRAWS = forecast(
    {
        "bold": {"pt": [0.1, 0.2, 0.3, 0.4], "cpt": [-1.0, -1.0, -1.0, -1.0]},
        "even": {"pt": [0.0, 0.1, 0.1, 0.2], "cpt": [-0.6, -0.6, -0.8, -0.8]},
        "meek": {"pt": [0.0, 0.0, 0.0, 0.0], "cpt": [-0.3, -0.3, -0.3, -0.9]},
    }
)
