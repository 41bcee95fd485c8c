"""Schedules: known values, exact end points, grids, and refusals that say what would be right."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_cpt.errors import ScheduleError
from bayes_cpt.planning import schedules
from bayes_cpt.planning.schedules import SCHEDULES, Schedule, expand, learning_rates
from bayes_cpt.runs.schedule_checks import DECAY_SHAPES

MICROCPT = Path(__file__).parents[2] / "data" / "microcpt" / "lr.csv"


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(1.0, 3), [1, 1, 1]),
        (schedules.constant(1.0, 5, warmup=4), [0.25, 0.5, 0.75, 1, 1]),
        (schedules.constant(2.0, 3, warmup=2, start=0.5), [1.5, 2, 2]),
        (schedules.constant(2.0, 2, warmup=2), [1, 2]),
        (schedules.linear(1.0, 4), [0.75, 0.5, 0.25, 0]),
        (schedules.linear(1.0, 6, warmup=2, final=0.2), [0.5, 1, 0.8, 0.6, 0.4, 0.2]),
        (schedules.cosine(2.0, 2), [1, 0]),
        (schedules.cosine(1.0, 4, warmup=1, final=0.5), [1, 0.875, 0.625, 0.5]),
        (schedules.wsd(1.0, 6, warmup=1, decay=0.5, start=0.3), [1, 1, 1, 2 / 3, 1 / 3, 0]),
        (schedules.wsd(1.0, 4, decay=0.5, final=0.01, decay_shape="exponential"), [1, 1, 0.1, 0.01]),
        (schedules.wsd(1.0, 8, decay=0.5, final=0.2, decay_shape="1-sqrt")
         , [1, 1, 1, 1, 0.6, 1 - 0.8 * 0.5**0.5, 1 - 0.8 * 0.75**0.5, 0.2]),
        (schedules.from_points([1, 3, 5], [0.0, 1.0, 0.0]), [0, 0.5, 1, 0.5, 0]),
        (schedules.from_points([1], [0.3]), [0.3]),
    ],
)  # fmt: skip
def test_known_values(schedule: Schedule, expected: list[float]) -> None:
    rates = learning_rates(schedule)
    assert rates.dtype == np.float64
    np.testing.assert_allclose(rates, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("run", "schedule"),
    [
        ("cpt_m_wsd000_wsd_r000", schedules.wsd(2e-3, 3000, warmup=100)),
        ("cpt_m_wsd000_cos_r000", schedules.cosine(2e-3, 3000, warmup=100)),
        ("cpt_m_wsd000_cos_r000_peak30", schedules.cosine(6e-4, 3000, warmup=100)),
        ("cpt_m_const_4000_const_r000", schedules.constant(2e-3, 2400)),
        ("pt_m_const", schedules.constant(2e-3, 8000, warmup=200)),
        ("pt_m_wsd050", schedules.linear(2e-3, 1600, final=0.5)),
    ],
)
def test_schedules_are_those_that_real_runs_used(run: str, schedule: Schedule) -> None:
    with MICROCPT.open() as file:
        rows = [row for row in csv.DictReader(file) if row["run"] == run]
    listed = schedules.from_points([int(row["step"]) for row in rows], [float(row["lr"]) for row in rows])
    np.testing.assert_allclose(learning_rates(schedule), learning_rates(listed), rtol=0, atol=2e-3 * 2e-3)


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd"])
def test_a_million_steps_end_exactly_where_asked(kind: str) -> None:
    rates = learning_rates(schedules.schedule(kind, peak=3e-4, steps=1_000_000, warmup=2_000, final=0.1))
    assert rates.shape == (1_000_000,)
    assert rates[1_999] == 3e-4
    assert rates[-1] == 0.1 * 3e-4
    assert rates[999] == 1.5e-4


WSD_FIELDS = {
    "peak": st.floats(1e-6, 1.0),
    "warmup": st.integers(0, 40),
    "start": st.floats(0, 1),
    "decay": st.floats(0.1, 0.6),
    "final": st.floats(1e-6, 1),
    "decay_shape": st.sampled_from(sorted(DECAY_SHAPES)),
}


@given(st.fixed_dictionaries(WSD_FIELDS))
def test_wsd_rises_stays_and_falls(fields: dict[str, Any]) -> None:
    rates = learning_rates(schedules.wsd(steps=100, **fields))
    peak, warmup, stable_end = fields["peak"], fields["warmup"], 100 - round(100 * fields["decay"])
    rounding = 1e-15 * peak
    assert np.all(np.diff(rates[:stable_end]) >= -rounding)
    assert np.all(rates[max(warmup - 1, 0) : stable_end] == peak)
    assert np.all(np.diff(rates[stable_end - 1 :]) <= rounding)
    assert rates[-1] == fields["final"] * peak


def test_grid_is_the_product_in_the_order_of_the_fields() -> None:
    grid = schedules.wsd(peak=[1e-3, 2e-3], steps=[3000, 6000], warmup=100)
    assert expand(grid) == [
        schedules.wsd(peak, steps, warmup=100) for peak in (1e-3, 2e-3) for steps in (3000, 6000)
    ]  # fmt: skip


def test_a_schedule_without_lists_expands_to_itself() -> None:
    points = schedules.from_points([1, 10], [1e-3, 0.0])
    assert expand(points) == [points]
    assert expand(schedules.constant(1e-3, 10)) == [schedules.constant(1e-3, 10)]


def test_numpy_arguments_make_the_same_schedules() -> None:
    grid = schedules.cosine(np.array([0.5, 1.0]), np.array([10]), warmup=range(2))
    assert grid == schedules.cosine([0.5, 1.0], [10], warmup=[0, 1])
    assert len(set(expand(grid))) == 4


def test_learning_rates_of_a_grid_are_refused() -> None:
    with pytest.raises(ScheduleError, match=r"linear: peak is a list.*expand"):
        learning_rates(schedules.linear(peak=[1e-3], steps=10))


@pytest.mark.parametrize("kind", sorted(SCHEDULES))
def test_registry_builds_what_the_function_of_that_name_builds(kind: str) -> None:
    fields = {"peak": [1e-3, 2e-3], "steps": 10, "warmup": 2, "start": 0.1}
    assert schedules.schedule(kind, **fields) == SCHEDULES[kind](**fields)
    assert schedules.schedule(kind, **fields).kind == kind


def test_a_path_as_kind_reads_points(tmp_path: Path) -> None:
    file = tmp_path / "warm.csv"
    file.write_text("step,lr\n1,0.0\n3,1.0\n")
    assert schedules.schedule(str(file)) == schedules.from_points([1, 3], [0.0, 1.0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("step,rate\n1,0.1\n", "no column lr"),
        ("", "no column lr or step"),
        ("step,lr\n", "0 steps"),
        ("step,lr\n1,0.1\n2.5,0.1\n", "line 3, column step: '2.5' is not an integer"),
        ("step,lr\n1,0.1\n2\n", "line 3, column lr: '' is not a number"),
        ("step,lr\n1,0.1\n2,nan\n", "LR at step 2"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(content)
    with pytest.raises(ScheduleError, match=f"bad.csv.*{message}"):
        schedules.from_csv(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match=r"none\.csv: cannot be read"):
        schedules.schedule(str(tmp_path / "none.csv"))


BAD_ARGUMENTS: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (schedules.constant, {"peak": 0.0}, "peak must be a number above 0, not 0.0"),
    (schedules.constant, {"peak": -1e-3}, "peak must be"),
    (schedules.constant, {"peak": float("inf")}, "peak must be"),
    (schedules.constant, {"peak": float("nan")}, "peak must be"),
    (schedules.constant, {"peak": True}, "peak must be"),
    (schedules.constant, {"peak": "2e-3"}, "peak must be"),
    (schedules.constant, {"steps": 0}, "steps must be an integer above 0"),
    (schedules.constant, {"steps": 10.0}, "steps must be"),
    (schedules.constant, {"steps": True}, "steps must be"),
    (schedules.constant, {"warmup": -1}, "warmup must be"),
    (schedules.constant, {"warmup": 11}, "11 steps of warm-up"),
    (schedules.constant, {"start": 1.5}, "start must be a number from 0 to 1"),
    (schedules.linear, {"final": -0.1}, "final must be a number from 0 to 1"),
    (schedules.linear, {"warmup": 10}, "left for the decay"),
    (schedules.cosine, {"warmup": 12}, "left for the decay"),
    (schedules.wsd, {"decay": 0.0}, "decay must be a fraction"),
    (schedules.wsd, {"decay": 1.1}, "decay must be a fraction"),
    (schedules.wsd, {"decay": 0.01}, "left for the decay"),
    (schedules.wsd, {"decay": 0.5, "warmup": 6}, "6 steps of warm-up and 5 of decay exceed steps=10"),
    (schedules.wsd, {"decay_shape": "square"}, "decay_shape must be one of linear, cosine, exponential, 1-sqrt"),
    (schedules.wsd, {"decay_shape": "exponential"}, "final must be above 0"),
    (schedules.wsd, {"steps": [10, 0]}, "steps must be"),
    (schedules.wsd, {"warmup": [0, 9]}, "9 steps of warm-up"),
    (schedules.wsd, {"peak": []}, "peak is an empty list"),
    (schedules.schedule, {"kind": "wds"}, "Unknown kind of schedule 'wds': use constant, linear, cosine, wsd"),
    (schedules.schedule, {"kind": "cosine", "warm_up": 5}, r"unknown field 'warm_up' \(did you mean 'warmup'\?\)"),
    (schedules.schedule, {"kind": "linear", "decay": 0.2}, "its fields are peak, steps, warmup, final, start"),
    (schedules.schedule, {"kind": "lr.csv"}, "takes no further fields, not peak, steps"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "fields", "message"), BAD_ARGUMENTS)
def test_bad_arguments_are_refused(build: Callable[..., Any], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        build(**{"peak": 1e-3, "steps": 10} | fields)


def test_missing_fields_are_named() -> None:
    with pytest.raises(ScheduleError, match="wsd: peak, steps missing"):
        schedules.schedule("wsd", warmup=10)


@pytest.mark.parametrize(
    ("step", "lr", "message"),
    [
        ([], [], "0 steps"),
        ([1, 2], [0.1], "2 steps, 1 LRs"),
        ([2, 3], [0.1, 0.1], "first listed step of a schedule must be 1, not 2"),
        ([1, 3, 3], [0.1, 0.1, 0.1], "increase strictly, but 3 follows 3"),
        ([1, 2.0], [0.1, 0.1], "integers, not 2.0"),
        ([1, 2], [0.1, -0.1], "LR at step 2"),
        ([1, 2], [0.1, float("inf")], "LR at step 2"),
        ([1, 2], [0.1, "x"], "LR at step 2"),
    ],
)
def test_bad_points_are_refused(step: list[Any], lr: list[Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        schedules.from_points(step, lr)
