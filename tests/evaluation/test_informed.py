"""Widths of posteriors and priors: on the scale of each prior, in the units of the fit."""

import numpy as np
import pytest
from conftest import drawn_from_prior, mostly_slow
from scipy import stats

import bayes_cpt as bc
from bayes_cpt.evaluation.informed import COMPARED, MIDDLE, RESTING, prior_width
from bayes_cpt.statistical_model.model_files import FAMILIES, Prior
from bayes_cpt.statistical_model.observations import observe


def test_every_family_of_priors_has_a_width():
    assert set(COMPARED) == set(FAMILIES)


@pytest.mark.parametrize(
    ("family", "arguments", "width"),
    [
        ("Normal", {"mu": 5.0, "sigma": 2.0}, 2 * 1.349 * 3),
        ("LogNormal", {"median": 7.0, "sigma": 2.0}, 2 * 1.349),  # of the log: the unit has no effect
        ("HalfNormal", {"sigma": 2.0}, (1.1503 - 0.3186) * 2 * 3),
        ("Uniform", {"lower": 1.0, "upper": 5.0}, 2 * 3),
        ("Beta", {"alpha": 2.0, "beta": 3.0}, float(np.diff(stats.beta(2, 3).ppf(MIDDLE))[0])),
    ],
)
def test_widths_are_in_the_unit_of_the_prior(family: str, arguments: dict[str, float], width: float):
    law = bc.LAWS["cpt"]
    observations = observe(bc.pilot_runs(law), law)  # all losses are 3 nats
    unit = "none" if family == "Beta" else "loss"
    assert prior_width(Prior(family, arguments, unit, "a test"), observations, "cpt") == pytest.approx(width, rel=1e-3)


@pytest.mark.parametrize("model", mostly_slow(bc.model_names(), "cpt-replay", "open-checkpoint"))
def test_draws_of_the_prior_are_as_wide_as_the_prior(model: str):
    table = bc.informed(drawn_from_prior(model))
    assert not table["learnt"].any()
    assert table["width"].between(RESTING, 1.2).all()


def test_narrow_draws_of_one_domain_are_learnt_there():
    table = bc.informed(drawn_from_prior("cpt", {("beta", "pt"): 0.1, ("shift_speed", "cpt"): 0.1}))
    assert table.index[table["learnt"]].to_list() == ["shift_speed[cpt]", "beta[pt]"]
    assert table.loc["beta[pt]", "width"] == pytest.approx(0.1, rel=0.1)


def test_effects_that_are_only_added_to_forecasts_are_left_out():
    assert not set(bc.informed(drawn_from_prior("cpt"))["parameter"]) & {"annealing_scale", "shift_scale", "k_scale"}


@pytest.mark.slow
def test_the_data_inform_some_parameters_and_not_others(fitted: bc.Fit):
    """One curve informs the drop by annealing; runs from one pre-training do not inform its scatter between runs."""
    table = bc.informed(fitted)
    assert table.loc["annealing_drop[pt]", "learnt"]
    assert not table.loc["offset_scale[pt]", "learnt"]
    assert "shift_scale[pt]" not in table.index  # added to forecasts: the data do not inform it
    assert (table["width"] > 0).all()
