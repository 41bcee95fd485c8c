"""From a fit to a decision without a sampler: draws of the prior replace the posterior."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.evaluation.scores import averaged, score, score_draws

PLAN = """\
parent = "pt"
replay = 0.0
[schedule]
kind = "wsd"
peak = 2e-3
steps = 2000
warmup = 100
"""


@pytest.fixture(scope="module")
def bands(made_up: bc.Fit) -> xr.Dataset:
    return bc.forecast(made_up, made_up.curves, steps={"cpt": range(60, 3001, 60)})


def test_a_forecast_is_scored_the_same_by_its_draws_and_its_table(made_up: bc.Fit, bands: xr.Dataset):
    losses = made_up.curves.losses.query("run == 'cpt' and step > 0")
    names = ["mae", "rmse", "wis", "cover50", "cover90", "width90"]
    of_table, of_draws = score(bc.table(bands), losses), averaged(score_draws(bands, losses))
    np.testing.assert_allclose(of_draws[names], of_table[names])


def test_the_fitted_losses_are_replicated(made_up: bc.Fit):
    checked, said = bc.predictive_check(made_up)
    assert said.startswith("posterior predictive check")
    assert set(checked.tree["posterior_predictive"].data_vars) == {"loss_pt"}


def test_a_fit_file_serves_the_commands(
    made_up: bc.Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    bc.save(made_up, "fit.nc")
    Path("plan.toml").write_text(PLAN)
    for command, *options in (
        ["forecast", "-o", "forecast.csv", "--plot", "forecast.png", "--every", "500"],
        ["decide", "-o", "decision.csv", "--plot", "decision.png", "--minimise", "pt"],
    ):
        monkeypatch.setattr(sys, "argv", ["bayes-cpt", command, "fit.nc", "plan.toml", *options])
        with pytest.raises(SystemExit) as caught:
            main.main()
        assert caught.value.code == 0, capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {
        "fit.nc", "plan.toml", "forecast.csv", "forecast.png", "decision.csv", "decision.png"
    }  # fmt: skip
    loaded = bc.load("fit.nc")
    assert isinstance(loaded, bc.Fit)
    xr.testing.assert_equal(loaded.posterior, made_up.posterior)
