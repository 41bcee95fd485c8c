"""The scatter of a curve is that of its noise, whatever its form, and a few bad points do not change it."""

import numpy as np
import pandas as pd
import pytest
from conftest import scheduled
from hypothesis import given, settings
from hypothesis import strategies as st

import bayes_cpt as bc
from bayes_cpt.plausibility.scatter import common_steps, measured_curves, rates_at, residuals_of


def curve(loss: np.ndarray, every: int = 10) -> bc.Curves:
    steps = every * np.arange(1, loss.size + 1)
    runs = pd.DataFrame({"run": ["pt"], "phase": "pt", "parent": None, "parent_step": None, "replay": None})
    losses = pd.DataFrame({"run": "pt", "step": steps, "domain": "pt", "loss": loss})
    return bc.curves_from_frames(runs, scheduled("pt", bc.constant(1e-3, int(steps[-1]))), losses)


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from([0.001, 0.01]), st.floats(0.2, 0.8))
def test_the_scatter_is_that_of_the_noise(seed: int, noise: float, power: float):
    random = np.random.default_rng(seed)
    loss = 2 + 3 * np.arange(1.0, 61) ** -power + noise * random.standard_normal(60)
    loss[random.integers(5, 55, 2)] += 5
    found = measured_curves(curve(loss))["pt", "pt"].scatter
    assert 0.4 * noise < found < 2.5 * noise  # between 0.6 and 1.7 in a thousand trials


@given(st.lists(st.integers(1, 100), min_size=3, max_size=8), st.floats(-1, 1), st.floats(-1, 1))
def test_a_parabola_has_no_residuals(gaps: list[int], slope: float, bend: float):
    step = np.cumsum([1, *gaps])
    place = step / step[-1]
    assert residuals_of(step, 2 + slope * place + bend * place**2) == pytest.approx(0, abs=1e-9)


def test_the_scatter_is_not_below_the_rounding():
    assert measured_curves(curve(np.full(20, 2.5)))["pt", "pt"].scatter == pytest.approx(0.05)


def test_step_0_has_the_learning_rate_of_the_checkpoint(tiny: bc.Curves):
    assert rates_at(tiny, "cpt_r00", np.array([0, 1, 10])).tolist() == pytest.approx([0.0, 1e-4, 1e-3])


def test_runs_are_one_training_until_their_learning_rates_differ(tiny: bc.Curves):
    measured = measured_curves(tiny)
    first, second = measured["cpt_r00", "pt"], measured["cpt_r50", "pt"]
    assert common_steps(tiny, first, second).tolist() == [10, 20, 30, 40, 50]
    assert common_steps(tiny, first, measured["pt_decay", "pt"]).size == 0
    lr = tiny.lr.assign(lr=tiny.lr["lr"].where((tiny.lr["run"] != "cpt_r50") | (tiny.lr["step"] != 50), 5e-4))
    assert common_steps(bc.Curves(tiny.runs, lr, tiny.losses), first, second).tolist() == [10]
