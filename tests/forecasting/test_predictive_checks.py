"""Checks before and after a fit: draws of the prior, and replicates from the posterior."""

import numpy as np
import pytest

import bayes_cpt as bc


@pytest.mark.slow
def test_curves_of_the_prior_look_like_loss_curves(simulated: bc.Curves):
    prior = bc.prior_predictive(simulated, "cpt", domains=["pt"], draws=50, seed=1)
    rows = bc.table(prior)
    assert np.isfinite(rows[["mean", "q05", "q25", "q50", "q75", "q95"]].to_numpy()).all()
    both = simulated.losses.merge(rows, on=["run", "domain", "step"])
    assert len(both) == len(simulated.losses)
    assert (both["q50"] / both["loss"]).between(1 / 3, 3).all()


@pytest.mark.slow
def test_the_posterior_replicates_the_fitted_losses(fitted: bc.Fit):
    checked, sentence = bc.predictive_check(fitted)
    replicated, observed = checked.tree["posterior_predictive"], checked.tree["observed_data"]
    assert set(replicated.data_vars) == set(observed.data_vars) == {"loss_pt"}
    assert replicated["loss_pt"].sizes["point_pt"] == observed["loss_pt"].sizes["point_pt"]
    error = replicated["loss_pt"].mean(("chain", "draw")) - observed["loss_pt"]
    assert float(np.sqrt((error**2).mean())) < 0.006  # twice the noise
    assert sentence.startswith("posterior predictive check")
    assert "posterior_predictive" not in fitted.tree
