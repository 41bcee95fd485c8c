"""Progress: rows over powers of the learning rate, and the weights that interpolate between them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.laws.areas import forward_area, progress_rows, progress_weights
from bayes_cpt.planning.schedules import cosine, learning_rates, wsd
from bayes_cpt.runs.lineage import Phase, Segment, phases_of

PEAK = 2e-3
SCHEDULES = {"decay": wsd(PEAK, 600, 50, decay=0.3), "cosine": cosine(PEAK, 600, 50)}
AT: IntArray = np.array([0, 1, 30, 200, 450, 600])
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def pretraining(schedule: str, tokens: float = 1.0) -> Phase:
    return phases_of([Segment("pt", learning_rates(SCHEDULES[schedule]), tokens)])[0]


def progress(phase: Phase, power: float, at: IntArray = AT) -> FloatArray:
    return progress_weights(np.asarray(power)) @ progress_rows(phase, at, PEAK)


@every_schedule
def test_progress_by_the_first_power_is_the_forward_area(schedule: str):
    phase = pretraining(schedule)
    np.testing.assert_allclose(progress(phase, 1.0), forward_area(phase)[AT], rtol=1e-12)


@every_schedule
@settings(deadline=None, max_examples=min(30, settings().max_examples))
@given(power=st.floats(0.2, 1.3))
def test_progress_sums_the_power_of_the_learning_rate(schedule: str, power: float):
    phase = pretraining(schedule)
    gained = [rate**power if rate > 0 else 0.0 for rate in phase.learning_rate / PEAK]
    expected = PEAK * np.concatenate([[0.0], np.cumsum(gained)])[AT]
    np.testing.assert_allclose(progress(phase, power), expected, rtol=3e-3, atol=PEAK)


def test_a_lower_power_gives_a_decayed_run_more_progress():
    phase = pretraining("cosine")
    ends = [progress(phase, power)[-1] for power in (0.3, 0.5, 0.8, 1.0)]
    assert (np.diff(ends) < 0).all()
    assert ends[0] < 600 * PEAK


def test_a_step_at_a_learning_rate_of_0_adds_no_progress():
    stopped = phases_of([Segment("pt", np.repeat([PEAK, 0.0], 100))])[0]
    for power in (0.2, 0.5, 1.0):
        np.testing.assert_allclose(progress(stopped, power, np.array([100, 200])), 100 * PEAK, rtol=1e-12)


def test_a_step_of_two_steps_tokens_counts_as_two():
    np.testing.assert_allclose(progress(pretraining("decay", 2.0), 0.5), 2 * progress(pretraining("decay"), 0.5))
