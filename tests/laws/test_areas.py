"""Areas: small cases by hand, properties against the definition (Eq. 1 and 2), and refusals."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bayes_cpt.errors import DataError
from bayes_cpt.laws.areas import Areas, areas, jump_area
from bayes_cpt.planning.schedules import constant, cosine, learning_rates, linear
from bayes_cpt.runs.lineage import Segment

type Rates = NDArray[np.float64]

memories = st.lists(st.floats(1, 1e5), min_size=1, max_size=3)


def rates(min_size: int = 1) -> st.SearchStrategy[Rates]:
    return st.lists(st.floats(0, 1, width=16), min_size=min_size, max_size=30).map(np.array)


def pt(*learning_rate: float) -> Segment:
    return Segment("pt", np.array(learning_rate))


def cpt(*learning_rate: float) -> Segment:
    return Segment("cpt", np.array(learning_rate))


def at_every_step(*lineage: Segment, memory: Any = 10.0) -> Areas:
    return areas(lineage, np.arange(lineage[-1].learning_rate.size + 1), memory)


def naive_annealing_area(reference: float, learning_rate: Rates, memory: float) -> Rates:
    """Return Eq. 1's double sum as printed, from step 0; ``reference`` is the LR before the first step."""
    factor = 1 - 1 / memory
    changes = -np.diff(np.concatenate([[reference], learning_rate]))
    momentum = [sum(factor ** (i - k) * changes[k] for k in range(i + 1)) for i in range(changes.size)]
    return np.array([sum(momentum[:t]) for t in range(changes.size + 1)])


def close_to(value: Any, memory: float = 1.0) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9 * memory)


def test_without_momentum_the_annealing_area_is_the_drop() -> None:
    found = at_every_step(pt(1.0, 1.0, 0.5, 0.25), memory=1)
    assert found.annealing_pt[:, 0].tolist() == [0, 0, 0, 0.5, 0.75]
    assert found.forward_pt.tolist() == [0, 1, 2, 2.5, 2.75]
    assert found.learning_rate.tolist() == [1, 1, 1, 0.5, 0.25]
    assert not found.annealing_cpt.any()
    assert not found.forward_cpt.any()


def test_pretraining_warmup_is_not_annealing_but_its_rewarmup_is() -> None:
    warmup, decay, rewarmup = [0.25, 0.5, 1.0], [0.5], [1.0]
    found = at_every_step(pt(*warmup, *decay, *rewarmup), memory=2).annealing_pt[:, 0]
    assert found.tolist() == [0, 0, 0, 0, 0.5, 0.25]
    assert at_every_step(pt(1.0, 2.0), pt(3.0, 2.0), memory=1).annealing_pt[:, 0].tolist() == [0, 0, 1]


def test_rewarmup_of_continual_pretraining_is_negative_annealing() -> None:
    found = at_every_step(pt(1.0, 0.0), cpt(0.5, 1.0, 1.0), memory=1)
    assert found.annealing_cpt[:, 0].tolist() == [0, -0.5, -1, -1]


def test_the_jump_at_the_transfer_point_belongs_to_continual_pretraining() -> None:
    found = at_every_step(pt(1.0), cpt(0.25, 0.25), memory=1)
    assert found.annealing_cpt[:, 0].tolist() == [0, 0.75, 0.75]
    assert found.annealing_pt[:, 0].tolist() == [0, 0, 0]
    assert found.learning_rate.tolist() == [1, 0.25, 0.25]


def test_an_unknown_jump_counts_as_0() -> None:
    found = at_every_step(cpt(0.5, 0.5, 0.25), memory=1)
    assert found.annealing_cpt[:, 0].tolist() == [0, 0, 0, 0.25]
    assert found.forward_cpt.tolist() == [0, 0.5, 1, 1.25]
    assert found.learning_rate[0] == 0.5


def test_a_memory_of_1000_is_the_lambda_of_the_paper() -> None:
    found = at_every_step(pt(1.0), cpt(0.0, 0.0), memory=1000).annealing_cpt[:, 0]
    assert found == close_to([0, 1, 1 + 0.999])


@given(rates(), memories)
def test_pretraining_equals_the_definition(learning_rate: Rates, memory: list[float]) -> None:
    rises = np.append(np.diff(learning_rate) > 0, False)
    end = int(np.flatnonzero(~rises)[0])
    flattened = np.where(np.arange(learning_rate.size) < end, learning_rate[end], learning_rate)
    found = at_every_step(Segment("pt", learning_rate), memory=memory)
    for column, each in enumerate(memory):
        expected = naive_annealing_area(learning_rate[end], flattened, each)
        assert found.annealing_pt[:, column] == close_to(expected, each)


@given(rates(), rates(), memories)
def test_continual_pretraining_equals_the_definition(before: Rates, after: Rates, memory: list[float]) -> None:
    found = at_every_step(Segment("pt", before), Segment("cpt", after), memory=memory)
    for column, each in enumerate(memory):
        expected = naive_annealing_area(before[-1], after, each)
        assert found.annealing_cpt[:, column] == close_to(expected, each)
    assert found.forward_cpt == close_to([sum(after[:t]) for t in range(after.size + 1)])


@given(rates(), rates(), memories)
def test_pretraining_areas_are_frozen_at_the_transfer_point(before: Rates, after: Rates, memory: list[float]) -> None:
    parent = at_every_step(Segment("pt", before), memory=memory)
    child = at_every_step(Segment("pt", before), Segment("cpt", after), memory=memory)
    assert np.all(child.forward_pt == parent.forward_pt[-1])
    assert np.all(child.annealing_pt == parent.annealing_pt[-1])


@given(rates(), rates(), memories, st.floats(0.01, 100))
def test_areas_scale_with_the_learning_rate(before: Rates, after: Rates, memory: list[float], scale: float) -> None:
    found = at_every_step(Segment("pt", before), Segment("cpt", after), memory=memory)
    scaled = at_every_step(Segment("pt", scale * before), Segment("cpt", scale * after), memory=memory)
    for one, other in zip(found, scaled, strict=True):
        assert other == close_to(scale * one, scale * max(memory))


@given(st.lists(st.tuples(st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=2, max_size=30), memories)
def test_continual_pretraining_areas_add_up(pairs: list[tuple[float, float]], memory: list[float]) -> None:
    one, other = np.array(pairs).T
    one_areas, other_areas, sum_areas = (
        at_every_step(Segment("pt", each[:1]), Segment("cpt", each[1:]), memory=memory)
        for each in (one, other, one + other)
    )
    assert sum_areas.annealing_cpt == close_to(one_areas.annealing_cpt + other_areas.annealing_cpt, max(memory))
    assert sum_areas.forward_cpt == close_to(one_areas.forward_cpt + other_areas.forward_cpt)


@given(rates(), rates(min_size=2), memories, st.data())
def test_cuts_within_a_phase_do_not_matter(
    before: Rates, after: Rates, memory: list[float], data: st.DataObject
) -> None:
    cut_before = data.draw(st.integers(0, before.size))
    cut_after = data.draw(st.integers(0, after.size))
    whole = at_every_step(Segment("pt", before), Segment("cpt", after), memory=memory)
    parts = at_every_step(
        Segment("pt", before[:cut_before]),
        Segment("pt", before[cut_before:]),
        Segment("cpt", after[:cut_after]),
        Segment("cpt", after[cut_after:]),
        memory=memory,
    )
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one[cut_after:], other)


@given(rates(), memories, st.data())
def test_areas_do_not_depend_on_the_other_points(
    learning_rate: Rates, memory: list[float], data: st.DataObject
) -> None:
    phase: Literal["pt", "cpt"] = data.draw(st.sampled_from(("pt", "cpt")))
    asked = data.draw(st.lists(st.integers(0, learning_rate.size), max_size=5))
    lineage = [pt(0.5), Segment(phase, learning_rate)]
    for one, other in zip(at_every_step(*lineage, memory=memory), areas(lineage, asked, memory), strict=True):
        np.testing.assert_array_equal(one[asked], other)


@given(rates(), st.floats(0, 1, width=16), memories)
def test_an_unknown_last_learning_rate_costs_one_column(after: Rates, last: float, memory: list[float]) -> None:
    known = at_every_step(pt(last), Segment("cpt", after), memory=memory).annealing_cpt
    unknown = at_every_step(Segment("cpt", after), memory=memory).annealing_cpt
    response = jump_area(np.arange(after.size + 1), memory)
    assert known == close_to(unknown + (last - after[0]) * response, max(memory))


def test_a_long_memory_and_a_long_run_stay_accurate() -> None:
    """The closed form of a linear decay: the discounted sum of t / n."""
    steps, memory = 300_000, np.array([1.0, 1e3, 1e5])
    factor = 1 - 1 / memory
    found = at_every_step(pt(1.0), Segment("cpt", learning_rates(linear(1.0, steps))), memory=memory)
    expected = memory * (steps - factor * memory * (1 - factor**steps)) / steps
    np.testing.assert_allclose(found.annealing_cpt[-1] / memory, expected / memory, rtol=0, atol=1e-9)


def test_constant_rates_do_not_anneal_whatever_came_before() -> None:
    stable = learning_rates(constant(2e-3, 1000, warmup=100))
    assert not at_every_step(Segment("pt", stable), memory=[1, 1000]).annealing_pt.any()
    assert not at_every_step(pt(2e-3), Segment("cpt", stable[100:]), memory=[1, 1000]).annealing_cpt.any()
    assert at_every_step(Segment("cpt", learning_rates(cosine(2e-3, 1000)))).annealing_cpt[-1, 0] > 0


def test_a_planned_run_without_steps_has_the_areas_of_its_parent() -> None:
    found = areas([pt(1.0, 0.5), cpt()], 0, 10)
    assert found.learning_rate.tolist() == [0.5]
    assert found.forward_pt.tolist() == [1.5]
    assert found.annealing_cpt.tolist() == [[0.0]]


@pytest.mark.parametrize(
    ("lineage", "steps", "memory", "message"),
    [
        ([], [0], 10, "lineage is empty"),
        ([pt()], [0], 10, "no steps"),
        ([cpt(1.0), pt(1.0)], [0], 10, "after continual"),
        ([pt(1.0), cpt(1.0), pt(1.0)], [0], 10, "after continual"),
        ([pt(1.0, -1.0)], [0], 10, r"pt phase is -1\.0"),
        ([pt(1.0), cpt(np.nan)], [0], 10, "cpt phase is nan"),
        ([pt(np.inf)], [0], 10, "pt phase is inf"),
        ([pt(1.0), pt(1.0)], [2], 10, "Step 2 is outside the run, whose steps go from 0 to 1"),
        ([pt(1.0)], [-1], 10, "Step -1 is outside"),
        ([pt(1.0)], [0.5], 10, "integers"),
        ([pt(1.0)], [0], 0.5, "at least 1 step"),
        ([pt(1.0)], [0], [10, np.nan], "at least 1 step"),
        ([pt(1.0)], [0], np.inf, "at least 1 step"),
    ],
)
def test_bad_input_is_refused(lineage: list[Segment], steps: list[int], memory: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        areas(lineage, steps, memory)


def test_jump_area_refuses_steps_before_the_transfer_point() -> None:
    with pytest.raises(DataError, match="Step -1"):
        jump_area([-1], 10)
