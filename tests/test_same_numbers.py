"""The same draws give the same tables as ever: forecasts, scores of a left-out run, and a decision."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayes_cpt as bc
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.runs.curves import measured_steps
from bayes_cpt.runs.holdout import Holdout

DATA = Path(__file__).parent / "data"
KEYS = ["run", "domain", "step"]


@pytest.fixture(scope="module")
def posterior() -> bc.Fit:
    fit = bc.load(DATA / "posterior.nc")
    assert isinstance(fit, bc.Fit)
    return fit


@pytest.fixture(scope="module")
def plan() -> bc.Plan:
    schedule = bc.wsd(peak=[1e-3, 2e-3], steps=3000, warmup=100)
    return bc.plan(parent="pt_wsd010", replay=[0, 0.25, 0.9], schedule=schedule)


def assert_same(found: pd.DataFrame, file: str) -> None:
    expected = pd.read_csv(DATA / file, keep_default_na=False)
    pd.testing.assert_frame_equal(found.reset_index(drop=True), expected, check_dtype=False, rtol=1e-9)


def test_a_left_out_run_is_forecast_and_scored_as_before(posterior: bc.Fit):
    curves = bc.select(bc.read_curves(Path(__file__).parents[1] / "data" / "checkpoints"), domains=["pt", "cpt"])
    measured = Holdout("a run", {"cpt_100_r050": 0}).unseen(curves)
    draws = bc.forecast(posterior, measured, steps=measured_steps(measured), seed=1)
    assert_same(bc.table(draws), "left_out_forecast.csv")
    assert_same(averaged(score_draws(draws, measured.losses)).reset_index(), "left_out_scores.csv")


def test_a_plan_is_forecast_as_before(posterior: bc.Fit, plan: bc.Plan):
    assert_same(bc.table(bc.forecast(posterior, plan, every=500, seed=3)), "plan_forecast.csv")


def test_ends_alone_are_those_of_whole_forecasts(posterior: bc.Fit, plan: bc.Plan, monkeypatch: pytest.MonkeyPatch):
    planned = bc.resolve(plan, posterior.curves)
    whole = bc.forecast(posterior, planned, steps={str(run): [3000] for run in planned.runs.index}, seed=3)
    monkeypatch.setattr("bayes_cpt.forecasting.forecast.RUNS_AT_A_TIME", 2)
    ends = bc.forecast_ends(posterior, plan, seed=3)
    assert list(ends["run"].values) == list(whole["run"].values)
    np.testing.assert_allclose(ends["loss"], whole["loss"].sel(step=3000), rtol=1e-6)
    limits = [bc.at_most("pt", change=0.2)]
    tables = [bc.decide(draws, {"pt": 0.5, "cpt": 0.5}, limits).table for draws in (whole, ends)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, check_dtype=False)
    with pytest.raises(bc.BayesCptError, match="has the ends of runs alone"):
        bc.decide(ends, {"pt": 1}, at="best")


def test_a_decision_is_made_as_before(posterior: bc.Fit, plan: bc.Plan):
    ends = bc.forecast(posterior, plan, every=3000, seed=3)
    decision = bc.decide(ends, {"pt": 0.5, "cpt": 0.5}, [bc.at_most("pt", change=0.2)])
    expected = pd.read_csv(DATA / "decision.csv")
    assert decision.chosen == expected.loc[expected["chosen"], "run"].item()
    numbers = expected.select_dtypes("number").columns
    np.testing.assert_allclose(decision.table[numbers], expected[numbers], rtol=1e-9)
