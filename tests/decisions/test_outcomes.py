"""Outcomes at the end, at the best checkpoint, and over all steps, against loops over draws."""

import numpy as np
import pytest
import xarray as xr

from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.errors import DataError

DRAWS, ENDS, STEPS = 40, (60, 100), np.array([0, 20, 40, 60, 80, 100])


def curves(seed: int = 1) -> xr.Dataset:
    """Random curves of two runs of different lengths on two domains."""
    dims = ("chain", "draw", "run", "domain")
    loss = np.random.default_rng(seed).normal(2, 0.3, (2, DRAWS // 2, 2, 2, STEPS.size))
    loss[:, :, 0, :, ENDS[0] < STEPS] = np.nan
    return xr.Dataset(
        {"loss": ((*dims, "step"), loss), "transfer_loss": (dims, np.full(loss.shape[:-1], 2.0))},
        {
            "run": ["short", "long"],
            "domain": ["pt", "cpt"],
            "step": STEPS,
            "replay": ("run", [0.0, 0.5]),
            "peak": ("run", [1e-3, 1e-3]),
            "end_step": ("run", list(ENDS)),
            "parent": ("run", ["base", "base"]),
        },
        {"warning": ""},
    )


def test_the_best_checkpoint_has_the_lowest_objective_of_those_that_meet_the_limits():
    forecast, limit = curves(), at_most("pt", change=0.1, probability=0.5)
    found = decide(forecast, {"pt": 0.5, "cpt": 0.5}, [limit], at="best").draws
    changes = (forecast["loss"] - 2.0).to_numpy().reshape(DRAWS, 2, 2, -1)
    for draw in range(DRAWS):
        for run in range(2):
            steps = [step for step in range(1, STEPS.size) if STEPS[step] <= ENDS[run]]
            allowed = [step for step in steps if changes[draw, run, 0, step] <= 0.1] or steps
            best = min(allowed, key=lambda step: changes[draw, run, :, step].mean())
            picked = found.isel(run=run, chain=draw // 20, draw=draw % 20)
            assert int(picked["step"]) == STEPS[best]
            assert float(picked["objective"]) == pytest.approx(changes[draw, run, :, best].mean())
            assert picked["change"].to_numpy() == pytest.approx(changes[draw, run, :, best])


def test_a_best_checkpoint_is_never_worse_than_the_end():
    best, end = (decide(curves(3), {"pt": 1, "cpt": 1}, at=at).draws["objective"] for at in ("best", "end"))
    assert (best <= end).all()
    assert (best < end).any()


def test_a_limit_for_all_steps_counts_whole_curves():
    forecast = curves(2)
    limit = at_most("pt", change=0.2, throughout=True, probability=0.5)
    table = decide(forecast, {"cpt": 1}, [limit]).table
    highest = np.nanmax((forecast["loss"] - 2.0).sel(domain="pt").to_numpy()[..., 1:], axis=-1).reshape(-1, 2)
    assert table[f"probability {limit}"].tolist() == (highest <= 0.2).mean(axis=0).tolist()
    assert (
        table[f"probability {limit}"]
        <= decide(forecast, {"cpt": 1}, [at_most("pt", change=0.2)]).table["probability pt <= +0.2 @ 0.9"]
    ).all()


def test_ends_alone_are_not_enough_for_all_steps_or_the_best_checkpoint():
    alone = curves().isel(run=[1]).sel(step=[0, 100])
    with pytest.raises(DataError, match="has the ends of runs alone"):
        decide(alone, {"cpt": 1}, at="best")
    with pytest.raises(DataError, match="need steps between"):
        decide(alone, {"cpt": 1}, [at_most("pt", change=0.2, throughout=True)])
