"""From a fit to a decision without a sampler: draws of the prior replace the posterior."""

import json
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pymc as pm
import pytest
import xarray as xr
from bayes_cpt.inference.density import Density
from bayes_cpt.statistical_model.pymc_model import build

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.evaluation.scores import averaged, score, score_draws
from bayes_cpt.inference.fit import Prepared, with_data
from bayes_cpt.runs.holdout import NOTHING
from bayes_cpt.statistical_model.observations import observe

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
def made_up(simulated: bc.Curves) -> bc.Fit:
    """Return a fit to draws of the prior: nothing is compiled for JAX or sampled."""
    spec = bc.read_spec("cpt")
    observations = observe(simulated, spec.law, ["pt"])
    model = build(spec, observations)
    variables = [*model.free_RVs, *model.deterministics]
    values = pm.draw(variables, draws=60, random_seed=1, mode="FAST_COMPILE")
    drawn = az.from_dict(
        {
            "posterior": {str(one.name): value[None] for one, value in zip(variables, values, strict=True)},
            "sample_stats": {"diverging": np.zeros((1, 60), bool)},
        },
        coords={name: list(labels or ()) for name, labels in model.coords.items()},
        dims={name: list(dims) for name, dims in model.named_vars_to_dims.items() if name in model.named_vars},
    )
    drawn.attrs = {"seed": 1, "sampling": json.dumps({"draws": 60}), "converged": 1, "verdict": "draws of the prior"}
    unused = Density(lambda _: (0.0, np.zeros(0)), {}, np.zeros(0), {})
    return with_data(Prepared(spec, simulated, observations, model, unused), NOTHING, drawn)


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
