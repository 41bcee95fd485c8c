"""A fit reweighted instead of a refit, if its importance weights are good enough."""

import pytest

import bayes_cpt as bc
from bayes_cpt.evaluation.reweighting import reweighted
from bayes_cpt.inference.fit import Prepared
from bayes_cpt.runs.holdout import Holdout


@pytest.mark.slow
def test_importance_sampling_finds_the_fit_without_a_tail_or_reports_that_it_cannot(
    prepared_cpt: Prepared, fitted: bc.Fit
):
    near = reweighted(prepared_cpt, fitted, Holdout("a tail", {"going": 1400}))
    far = reweighted(prepared_cpt, fitted, Holdout("all CPT", {"going": 0, "cpt": 0}))
    assert near.pareto_k < 0.7 < far.pareto_k
    assert near.fit.curves.losses.query("run == 'going'")["step"].max() < 1400
    assert near.fit.posterior.sizes["chain"] == 1
    before, after = (fit.posterior["loss_at_reference"] for fit in (fitted, near.fit))
    assert abs(float(before.mean() - after.mean())) < 2 * float(before.std())
