"""Uncertainty of the published point estimates: the same curves fitted by MCMC."""

import numpy as np
import pytest
from conftest import history

import bayes_cpt as bc
from bayes_cpt.laws.terms import distribution_shift
from bayes_cpt.simulation.published import LARGER_MODELS
from bayes_cpt.simulation.simulate import simulate

PEAK = 2e-4


@pytest.mark.slow
def test_the_shift_is_identified_and_its_coefficients_are_not():
    """Figure 16's (B, E, beta) = (29.1, 100, .001) is one point of a ridge, on which B goes through infinity."""
    published = LARGER_MODELS["594M"]["pt"]
    decaying = bc.wsd(PEAK, 30_000, 500)
    schedules = {"constant": bc.constant(PEAK, 30_000, 500), "wsd": decaying, "low": bc.wsd(PEAK / 4, 20_000, 500)}
    decayed = history({name: (0.0, schedule) for name, schedule in schedules.items()}, decaying)
    planned = decayed.joined(history({}, bc.constant(PEAK, 30_000, 500), "pt_constant"))
    measured = simulate(planned, "cpt-eq4", {"pt": published}, memory=1000.0, noise=0.003, every=500, seed=1)
    fit = bc.fit(measured, "cpt-eq4", draws=600, tune=400, seed=1, progress=False)

    draws = {name: fit.posterior[name].sel(domain="pt").to_numpy().ravel() for name in ("B", "E", "beta")}
    area = PEAK * np.array([1_000, 5_000, 30_000])[:, None]
    low, middle, high = np.quantile(distribution_shift(area, **draws), [0.05, 0.5, 0.95], axis=1)
    truth = distribution_shift(area[:, 0], published["B"], published["E"], published["beta"])
    b_low, b_high = np.quantile(np.abs(draws["B"]), [0.05, 0.95])
    beta_low, beta_high = np.quantile(draws["beta"], [0.05, 0.95])
    e_low, e_high = np.quantile(draws["E"], [0.02, 0.98])
    print(f"\nshift {low} to {high}, true {truth}; |B| {b_low} to {b_high}, beta {beta_low} to {beta_high}, "
          f"E {e_low} to {e_high}; {fit.verdict}")  # fmt: skip
    assert ((high - low) / middle < 0.1).all()
    assert (np.abs(middle / truth - 1) < 0.04).all()
    assert b_high / b_low > 4
    assert beta_low < published["beta"] < beta_high
    assert e_low < published["E"] < e_high
