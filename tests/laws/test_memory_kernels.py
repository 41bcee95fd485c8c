"""Rows and weights of every memory kernel against its formula."""

from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.laws.memory_kernels import (
    DECAY_RATES,
    MEMORY_KERNELS,
    SLOWER_RATES,
    MemoryKernel,
    multi_power_rows,
    multi_power_warmup_rows,
    multi_power_weights,
)
from bayes_cpt.planning.schedules import cosine, learning_rates, wsd
from bayes_cpt.runs.lineage import Phase, Segment, phases_of

PEAK = 2e-3
SHAPES = {
    "exponential": {"memory": 40.0},
    "rate-weighted": {"memory": 40.0, "rate_weight": 0.1},
    "multi-power": {"memory": 40.0, "rate_power": 0.5, "tail": 0.7},
}
SCHEDULES = {
    "decay": wsd(PEAK, 600, 50, decay=0.3),
    "cosine": cosine(PEAK, 600, 50),
}
every_kernel = pytest.mark.parametrize("name", SHAPES)


def phase(name: str) -> Phase:
    """Return CPT from a checkpoint at half the peak: a jump, a re-warm-up and a decay."""
    before = Segment("pt", np.array([PEAK, PEAK / 2]))
    return phases_of([before, Segment("cpt", learning_rates(SCHEDULES[name]))])[1]


def fraction(kernel: MemoryKernel, given: Phase, shape: dict[str, float], position: Any) -> FloatArray:
    weights = kernel.weights(**{key: np.asarray(value) for key, value in shape.items()})
    return weights @ kernel.rows(given, np.asarray(position), PEAK)


def rate_weighted(given: Phase, steps: int, memory: float, rate_weight: float) -> float:
    """Return Eq. 9 as printed, over memory x peak."""
    momentum, area = 0.0, 0.0
    for drop, rate in zip(given.drop[:steps], given.learning_rate[:steps], strict=True):
        momentum = (1 - 1 / memory) * momentum + drop
        area += momentum * max(rate / PEAK, 1e-3) ** rate_weight
    return area / (memory * PEAK)


def multi_power(given: Phase, steps: int, memory: float, rate_power: float, tail: float) -> float:
    """Return the multi-power law's sum over drops as printed, over the peak."""
    total = 0.0
    for k in np.flatnonzero(given.drop[:steps]):
        since = given.learning_rate[k:steps].sum() / PEAK
        reached = since * max(given.learning_rate[k] / PEAK, 1e-3) ** -rate_power
        total += given.drop[k] * (1 - (1 + tail * reached / memory) ** (-1 / tail))
    return total / PEAK


def by_definition(name: str, given: Phase, steps: int, shape: dict[str, float]) -> float:
    if name == "multi-power":
        return multi_power(given, steps, **shape)
    return rate_weighted(given, steps, shape["memory"], shape.get("rate_weight", 0.0))


@every_kernel
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rows_and_weights_give_the_definition(name: str, schedule: str):
    given, steps = phase(schedule), [0, 1, 30, 200, 450, 600]
    found = fraction(MEMORY_KERNELS[name], given, SHAPES[name], steps)
    expected = [by_definition(name, given, step, SHAPES[name]) for step in steps]
    np.testing.assert_allclose(found, expected, atol=4e-3)


@settings(deadline=None, max_examples=min(20, settings().max_examples))
@given(rate_power=st.floats(0, 1.4), tail=st.floats(0.1, 8), memory=st.floats(5, 500))
def test_the_multi_power_kernel_is_right_over_its_parameters(rate_power: float, tail: float, memory: float):
    one_drop = Phase(np.full(400, PEAK / 5), np.ones(400), np.append(0.8 * PEAK, np.zeros(399)), 0)
    shape = {"memory": memory, "rate_power": rate_power, "tail": tail}
    found = fraction(MEMORY_KERNELS["multi-power"], one_drop, shape, [1, 20, 400])
    expected = [multi_power(one_drop, step, **shape) for step in (1, 20, 400)]
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_the_multi_power_law_counts_the_warm_up_up_to_a_constant():
    shape, steps = SHAPES["multi-power"], [50, 80, 300, 600]
    pretraining, _ = phases_of([Segment("pt", learning_rates(SCHEDULES["decay"]))])
    every_drop = pretraining._replace(drop=-np.diff(pretraining.learning_rate, prepend=0.0))
    expected = [multi_power(every_drop, step, **shape) + 1 for step in steps]  # the warm-up rises by the peak: 1 of it
    weights = multi_power_weights(**{name: np.asarray(value) for name, value in shape.items()})
    rows = (
        multi_power_rows(pretraining, np.array(steps), PEAK),
        multi_power_warmup_rows(pretraining, np.array(steps), PEAK),
    )
    np.testing.assert_allclose(weights @ sum(rows), expected, atol=4e-3)
    assert expected[0] > 0.3, "the warm-up matters here"


@every_kernel
def test_a_step_of_two_steps_tokens_counts_as_two(name: str):
    rates = learning_rates(SCHEDULES["decay"])
    every, double = (
        phases_of([Segment("pt", np.array([PEAK])), Segment("cpt", np.repeat(rates, count), tokens)])[1]
        for count, tokens in ((2, 1.0), (1, 2.0))
    )
    steps = np.array([10, 100, 480, 600])
    fine = fraction(MEMORY_KERNELS[name], every, SHAPES[name], 2 * steps)
    coarse = fraction(MEMORY_KERNELS[name], double, SHAPES[name], steps)
    np.testing.assert_allclose(coarse, fine, atol=0.015)


@every_kernel
def test_weights_are_the_same_on_pytensor(name: str):
    symbols = {key: pt.scalar(key) for key in SHAPES[name]}
    weights = (
        MEMORY_KERNELS[name]
        .weights(**symbols)
        .eval({symbols[key]: value for key, value in SHAPES[name].items()}, mode="FAST_COMPILE")
    )
    expected = MEMORY_KERNELS[name].weights(**{key: np.asarray(value) for key, value in SHAPES[name].items()})
    np.testing.assert_allclose(weights, expected, rtol=1e-12)


def test_the_extended_grid_of_rates_has_even_steps():
    spacing = np.diff(np.log(np.concatenate([SLOWER_RATES, DECAY_RATES])))
    np.testing.assert_allclose(spacing, spacing[0], rtol=1e-9)
