"""Annealing as relaxation: the height above the floor by its definition, step by step."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, FASTEST, RELAXING
from bayes_cpt.planning.schedules import constant, cosine, learning_rates, wsd
from bayes_cpt.runs.lineage import Phase, Segment, phases_of

PEAK = 2e-3
SCHEDULES = {"decay": wsd(PEAK, 600, 50, decay=0.3), "cosine": cosine(PEAK, 600, 50)}
STEPS = np.array([0, 1, 30, 200, 450, 600])


def height(
    rates: FloatArray, memory: float, level_power: float, response_power: float, start: float = 0.0
) -> FloatArray:
    """Return h after 0, 1, ... steps: each step goes its share of the way to the level of its LR."""
    found = [start]
    for share in rates / PEAK:
        left = np.exp(-(max(share, FASTEST) ** response_power) / memory)
        found.append(share**level_power + (found[-1] - share**level_power) * left)
    return np.array(found)


def weighted(rows: FloatArray, shape: dict[str, float]) -> FloatArray:
    return RELAXING.weights(**{name: np.asarray(value) for name, value in shape.items()}) @ rows


def both(pretraining: FloatArray | None, continued: FloatArray) -> tuple[Phase, Phase]:
    before = [] if pretraining is None else [Segment("pt", pretraining)]
    return phases_of([*before, Segment("cpt", continued)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@settings(deadline=None, max_examples=min(15, settings().max_examples))
@given(memory=st.floats(5, 1_000), level_power=st.floats(0.25, 1), response_power=st.floats(0, 1.5))
def test_pretraining_wins_what_the_height_leaves(
    schedule: str, memory: float, level_power: float, response_power: float
):
    rates = learning_rates(SCHEDULES[schedule])
    shape = {"memory": memory, "level_power": level_power, "response_power": response_power}
    [phase, _] = phases_of([Segment("pt", rates)])
    found = weighted(RELAXING.rows(phase, STEPS, PEAK), shape)
    # half a step of delay, and interpolation on the grid
    np.testing.assert_allclose(found, 1 - height(rates, **shape)[STEPS], atol=0.03 + 0.6 / memory)


@pytest.mark.parametrize("checkpoint", ["annealed", "at the peak"])
def test_one_height_goes_through_the_transfer(checkpoint: str):
    shape: dict[str, Any] = {"memory": 60.0, "level_power": 0.7, "response_power": 0.8}
    before = learning_rates(SCHEDULES["decay"] if checkpoint == "annealed" else constant(PEAK, 600))
    after = learning_rates(SCHEDULES["cosine"])
    whole = height(np.concatenate([before, after]), **shape)[600:]
    rows, jump = RELAXING.rows_of_cpt(*both(before, after), STEPS, PEAK, jump_is_known=True)
    np.testing.assert_allclose(weighted(rows, shape), whole[0] - whole[STEPS], atol=0.02)
    assert not jump.any()


@pytest.mark.parametrize("start", [0.0, 0.4, 1.0])
def test_the_height_of_an_unknown_checkpoint_is_a_number(start: float):
    shape: dict[str, Any] = {"memory": 60.0, "level_power": 0.7, "response_power": 0.8}
    after = learning_rates(SCHEDULES["cosine"])
    rows, jump = RELAXING.rows_of_cpt(*both(None, after), STEPS, PEAK, jump_is_known=False)
    expected = start - height(after, **shape, start=start)[STEPS]
    np.testing.assert_allclose(weighted(rows, shape) + start * weighted(jump, shape), expected, atol=0.02)


def test_eq_1_is_a_special_case():
    """With the powers 1 and 0 a decay from the peak wins what Eq. 1's annealing area over memory x peak says."""
    rates = np.concatenate([np.full(3_000, PEAK), np.linspace(PEAK, 0, 600), np.full(400, PEAK / 10)])
    steps = np.array([3_000, 3_200, 3_600, 3_700, 4_000])
    [phase, _] = phases_of([Segment("pt", rates)])
    of_eq_1 = EXPONENTIAL.weights(memory=np.array(80.0)) @ EXPONENTIAL.rows(phase, steps, PEAK)
    shape = {"memory": 80.0, "level_power": 1.0, "response_power": 0.0}
    np.testing.assert_allclose(weighted(RELAXING.rows(phase, steps, PEAK), shape), of_eq_1, atol=0.01)


def test_a_step_of_two_steps_tokens_counts_as_two():
    rates = learning_rates(SCHEDULES["decay"])
    shape = {"memory": 60.0, "level_power": 0.7, "response_power": 0.8}
    once, twice = (
        weighted(RELAXING.rows(phases_of([Segment("pt", each, tokens)])[0], at, PEAK), shape)
        for each, tokens, at in ((np.repeat(rates, 2), 1.0, 2 * STEPS), (rates, 2.0, STEPS))
    )
    np.testing.assert_allclose(once, twice, atol=0.01)
