"""What a backtest says in words: it counts runs, and says what it cannot show."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from bayes_cpt.evaluation.backtest import Backtest
from bayes_cpt.evaluation.scores import score_draws
from bayes_cpt.evaluation.verdict import verdict

STEPS = np.arange(1, 41)


def runs_of_width(factor: float, count: int, seed: int = 1, extrapolates: str = "") -> Backtest:
    """Return scores of forecasts whose spread is a factor of the true one; a run departs from them as a whole."""
    random = np.random.default_rng(seed)
    names = [f"run {number}" for number in range(count)]
    away = np.repeat(random.normal(2, 0.1, count), STEPS.size)
    losses = pd.DataFrame({"run": np.repeat(names, STEPS.size), "step": np.tile(STEPS, count)})
    losses = losses.assign(domain="pt", loss=away)
    draws = np.repeat(random.normal(2, 0.1 * factor, (2, 500, count, 1, 1)), STEPS.size, axis=-1)
    dims = ("chain", "draw", "run", "domain", "step")
    forecast = xr.Dataset({"loss": (dims, draws)}, coords={"run": names, "domain": ["pt"], "step": STEPS})
    points = score_draws(forecast, losses)
    return Backtest("run", points.assign(fold=points["run"], extrapolates=extrapolates, converged=True), count)


def said_of(factor: float, count: int, seed: int = 1) -> str:
    return verdict(runs_of_width(factor, count, seed).table)


def test_the_verdict_distinguishes_right_narrow_and_wide_intervals():
    assert "Intervals can be trusted, as far as 20 runs show." in said_of(1.0, 20, seed=2)
    for seed in range(1, 6):
        assert "times the width would be needed" in said_of(0.2, 20, seed)
        assert "times the width would suffice" in said_of(5.0, 20, seed)


def test_right_intervals_are_rarely_called_wrong():
    """Four chances of 2.5 % each, most of them dependent."""
    wrong = ["can be trusted" not in said_of(1.0, 9, seed) for seed in range(60)]
    assert np.mean(wrong) < 0.2


def test_few_runs_show_little():
    assert "One run cannot show whether" in said_of(1.0, 1)
    assert "6 runs are needed to see whether they are too wide" in said_of(3.0, 4)
    assert "too narrow" in said_of(0.02, 2)


def test_it_counts_runs_not_points():
    said = said_of(1.0, 9)
    table = runs_of_width(1.0, 9).table
    assert f"{(~table['end90']).sum()} of 9 runs end outside their 90 % interval (0.9 expected)" in said
    assert set(table["cover90"]) <= {0.0, 1.0}  # each run departs as a whole


def test_it_names_a_run_that_the_mean_hides():
    table = runs_of_width(1.0, 9).table
    table.loc[0, "cover90"] = 0.3
    table.loc[1:, "cover90"] = 0.97
    assert "(only 30 % of those of run 0)" in verdict(table)
    assert "only" not in verdict(table.assign(cover90=0.97))


def test_runs_beyond_the_others_and_untested_questions_are_named():
    result = runs_of_width(0.02, 3, extrapolates="peak LR, length")
    said = verdict(result.table.assign(untested="checkpoint, schedule"))
    assert "Beyond the other runs in peak LR: 3 of 3 runs end outside a 90 % interval (run 0, run 1, run 2)." in said
    assert "Beyond the other runs in length: 3 of 3" in said
    assert "It does not show how well a run of unseen checkpoint or schedule is forecast." in said
    assert "Beyond" not in said_of(1.0, 3)


@pytest.mark.parametrize(("leave", "words"), [("tail", "3 runs of which the end was left out"), ("replay", "replay")])
def test_it_names_the_question(leave: str, words: str):
    table = runs_of_width(1.0, 3).table
    assert words in verdict(table.assign(leave=leave)).split("\n")[0]


def test_it_says_what_is_missing():
    result = runs_of_width(1.0, 1)
    said = verdict(Backtest("run", result.points.assign(converged=False), 3).table)
    assert "1 of the 1 fits did not converge" in said
    assert "Interrupted after 1 of 3 folds." in said
