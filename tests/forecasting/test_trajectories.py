"""The density of measured losses of new runs is that of forecasts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import bayes_cpt as bc
from bayes_cpt.evaluation.backtest import unseen
from bayes_cpt.forecasting.trajectories import conditional
from bayes_cpt.inference.fit import Prepared, fit_prepared
from bayes_cpt.inference.settings import REFIT
from bayes_cpt.runs.curves import measured_steps
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.low_rank_gaussian import log_density

GOING = Holdout("going", {"going": 0})


@pytest.fixture(scope="module")
def without_a_run(prepared_cpt: Prepared) -> bc.Fit:
    return fit_prepared(prepared_cpt, replace(REFIT, draws=100, tune=100), GOING)


@pytest.mark.slow
def test_the_joint_density_is_that_of_a_multivariate_normal(prepared_cpt: Prepared, without_a_run: bc.Fit):
    given = conditional(without_a_run, unseen(prepared_cpt, GOING))["pt"]
    assert given.components == ("annealing", "shift", "transfer")  # of the new run: those of fitted runs are known
    assert (np.abs(given.columns[:, 0]).max(axis=1) > 0).all()
    loss = given.points["loss"].to_numpy()
    logs = log_density(loss - given.mean, given.variance, given.columns)
    for draw in (0, 77, 199):
        columns = given.columns[draw]
        covariance = np.diag(given.variance[draw]) + columns.T @ columns
        assert logs[draw] == pytest.approx(multivariate_normal(given.mean[draw], covariance).logpdf(loss))


@pytest.mark.slow
def test_the_density_is_of_what_is_forecast(prepared_cpt: Prepared, without_a_run: bc.Fit):
    """Mean, spread and correlation of forecast draws are those of the density."""
    measured = unseen(prepared_cpt, GOING)
    given = conditional(without_a_run, measured)["pt"]
    drawn = [
        bc.forecast(without_a_run, measured, steps=measured_steps(measured), seed=seed)["loss"].sel(
            domain="pt", run="going"
        )
        for seed in range(10)
    ]
    values = np.concatenate([one.to_numpy().reshape(-1, one.sizes["step"]) for one in drawn])
    columns, deviation = given.columns, given.mean - given.mean.mean(axis=0)
    within = np.einsum("dki,dkj->ij", columns, columns) / len(columns) + np.diag(given.variance.mean(axis=0))
    covariance = within + deviation.T @ deviation / len(deviation)
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((values.mean(axis=0) - given.mean.mean(axis=0)) / scale, 0, atol=0.12)
    np.testing.assert_allclose(np.cov(values.T) / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=0.2)
