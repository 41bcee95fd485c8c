"""Scores of draws and of their table."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayes_cpt as bc
from bayes_cpt.evaluation.scores import averaged, mean_distance, score, score_draws


def test_the_distance_of_two_draws_is_that_of_all_pairs():
    values = np.sort(np.random.default_rng(1).normal(size=(3, 50)), axis=1)
    np.testing.assert_allclose(mean_distance(values), np.abs(values[:, :, None] - values[:, None]).mean((1, 2)))


def test_scores_of_draws_are_those_of_the_normal_they_come_from():
    """CRPS of N(0, 1) at 0: 2 phi(0) - 1/sqrt(pi); PIT one half (Gneiting & Raftery 2007)."""
    random = np.random.default_rng(2)
    dims = ("chain", "draw", "run", "domain", "step")
    draws = xr.Dataset(
        {"loss": (dims, random.standard_normal((4, 20_000, 1, 1, 1)))},
        coords={"run": ["a"], "domain": ["pt"], "step": [5]},
    )
    losses = pd.DataFrame({"run": ["a"], "step": [5], "domain": ["pt"], "loss": [0.0]})
    (point,) = score_draws(draws, losses).to_dict("records")
    assert point["crps"] == pytest.approx(2 / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi), abs=0.01)
    assert point["pit"] == pytest.approx(0.5, abs=0.01)
    assert point["cover50"]
    assert point["width90"] == pytest.approx(2 * 1.645, abs=0.03)


@pytest.mark.slow
def test_scores_of_draws_and_of_their_table_agree(fitted: bc.Fit):
    losses = fitted.curves.losses.query("run == 'cpt' and step > 0")
    draws = bc.forecast(fitted, bc.select(fitted.curves, "run == 'cpt'"), steps={"cpt": losses["step"].tolist()})
    names = ["mae", "rmse", "wis", "cover50", "cover90", "width90"]
    of_table, of_draws = score(bc.table(draws), losses), averaged(score_draws(draws, losses))
    np.testing.assert_allclose(of_draws[names], of_table[names])
