"""Points that stand out are set aside; real features of a curve are not."""

import numpy as np
import pandas as pd
import pytest
from conftest import history
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import sound

import bayes_cpt as bc
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.plausibility.outliers import COLUMNS, outlying_points, without


def with_points(curves: bc.Curves, run: str, domain: str, changes: dict[int, float]) -> bc.Curves:
    """Move losses of a run, by the place among its losses."""
    own = curves.losses.index[(curves.losses["run"] == run) & (curves.losses["domain"] == domain)]
    loss = curves.losses["loss"].copy()
    for place, change in changes.items():
        loss[own[place]] += change
    return curves.with_losses(curves.losses.assign(loss=loss))


@pytest.mark.parametrize("changes", [{15: 0.3}, {15: -0.3}, {14: 2.0, 15: 0.4}, {-1: 0.4}, {5: 7.0, 20: 0.5}, {2: 1.0}])
@pytest.mark.parametrize("domain", ["pt", "cpt"])
def test_points_that_stand_out_are_found_and_no_others(changes: dict[int, float], domain: str):
    curves = sound(3, "medium").curves
    found = outlying_points(with_points(curves, "b", domain, changes))
    own = curves.losses[(curves.losses["run"] == "b") & (curves.losses["domain"] == domain)]
    places = sorted(place % len(own) for place in changes)
    assert found["step"].tolist() == own["step"].iloc[places].tolist()
    assert found["expected"].to_numpy() == pytest.approx(own["loss"].iloc[places].to_numpy(), abs=0.15)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(3, 27), st.floats(0.5, 8), st.sampled_from(["pt", "cpt"]))
def test_a_spike_is_found_wherever_it_is(seed: int, place: int, height: float, domain: str):
    # before the third place a curve is so steep that a spike of half a nat does not stand out
    curves = sound(seed % 4, "medium").curves
    found = outlying_points(with_points(curves, "a", domain, {place: height}))
    own = curves.losses[(curves.losses["run"] == "a") & (curves.losses["domain"] == domain)]
    assert found["step"].tolist() == [own["step"].iloc[place]]


def described(loss: list[float], schedule: Schedule | None = None) -> pd.DataFrame:
    """Return the outliers of a CPT run with these losses on pt, every 100 steps from 0."""
    chosen = schedule or bc.constant(1e-3, 100 * (len(loss) - 1))
    planned = history({"cpt": (0.0, chosen)}, bc.wsd(1e-3, 1000, 50))
    losses = pd.DataFrame({"run": "cpt", "step": 100 * np.arange(len(loss)), "domain": "pt", "loss": loss})
    return outlying_points(bc.curves_from_frames(planned.runs, planned.lr, losses))


@pytest.mark.parametrize(
    ("loss", "schedule"),
    [
        # the quick rise at the start, the peak of a re-warm-up, a decay within one interval
        ([2.0, 2.5, 2.55, 2.57, 2.58, 2.585, 2.587, 2.588, 2.59, 2.591], None),
        ([2.0, 2.8, 2.6, 2.55, 2.53, 2.52, 2.51, 2.505, 2.503, 2.5], bc.constant(1e-3, 900, 100)),
        ([2.0, 2.5, 2.52, 2.53, 2.535, 2.537, 2.538, 2.539, 2.539, 2.4], bc.wsd(1e-3, 900, 0, decay=0.1)),
        ([2.0, 1.9, 2.1, 2.09, 2.08, 2.07, 2.065, 2.06, 2.055, 2.05], bc.constant(1e-3, 900, 150)),
    ],
    ids=["rise", "peak", "decay", "dip of a re-warm-up"],
)
def test_features_of_a_curve_do_not_stand_out(loss: list[float], schedule: Schedule | None):
    assert described(loss, schedule).empty


def test_a_curve_that_is_strange_as_a_whole_has_no_outliers():
    random = np.random.default_rng(1)
    loss = 2.5 + np.where(np.arange(24) % 4 == 2, random.uniform(1, 3, 24), 0.0)
    assert described(loss.tolist()).empty


def test_the_mean_of_a_run_as_its_last_point():
    loss = [3.0, 2.8, 2.68, 2.6, 2.55, 2.52, 2.5, 2.49, 2.48]
    found = described([*loss, float(np.mean(loss))])
    assert found[["step", "finding"]].to_numpy().tolist() == [[900, "mean-as-last"]]
    assert found["expected"].iloc[0] == pytest.approx(2.47, abs=0.005)
    assert described([*loss, 2.475]).empty


def test_points_are_left_out_by_run_step_and_domain():
    curves = sound(1, "small").curves
    rows = curves.losses.iloc[[3, 20]].assign(expected=0.0, finding="outlier")[list(COLUMNS)]
    left = without(curves, rows)
    assert len(left.losses) == len(curves.losses) - 2
    assert without(curves, rows[:0]) is curves
