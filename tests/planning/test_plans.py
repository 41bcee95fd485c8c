"""Plans: grids and folders become checked runs, and a run in progress continues its recorded schedule."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt.errors import CurvesError
from bayes_cpt.planning import schedules
from bayes_cpt.planning.plans import LEARNING_RATE_TOLERANCE, family, plan, read_plan, resolve
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves

SHORT = schedules.wsd(peak=1e-3, steps=10, warmup=2)

TOML = """\
parent = "pt_decay"
replay = [0.0, 0.25]
[schedule]
kind = "wsd"
peak = [1e-3, 2e-3]
steps = 30
warmup = 5
"""


@pytest.fixture
def tiny(tiny_folder: Path) -> Curves:
    return read_curves(tiny_folder)


def faults_of(source: Any, known: Curves, **arguments: Any) -> str:
    """Return the faults of a grid's arguments, or of a path, up to resolved runs."""
    with pytest.raises(CurvesError) as caught:
        resolve(read_plan(source) if isinstance(source, Path) else plan(source, **arguments), known)
    return "\n".join(caught.value.faults)


def write(folder: Path, runs: str, lr: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "runs.csv").write_text(f"run,phase,parent,parent_step,replay\n{runs}")
    (folder / "lr.csv").write_text(f"run,step,lr\n{lr}")
    return folder


# Grids --------------------------------------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_lists(tiny: Curves):
    shape = schedules.wsd(peak=[1e-3, 2e-3], steps=[10, 20], warmup=2)
    planned = resolve(plan(parent=["pt_const", "pt_decay"], replay=[0, 0.25], schedule=shape), tiny)
    assert len(planned.runs) == 16
    assert list(planned.runs.index[:3]) == [
        "pt_const_r000_peak0.001_steps10",
        "pt_const_r000_peak0.001_steps20",
        "pt_const_r000_peak0.002_steps10",
    ]
    row = planned.runs.loc["pt_decay_r025_peak0.002_steps20"].to_dict()
    assert (row["phase"], row["parent"], row["parent_step"], row["replay"]) == ("cpt", "pt_decay", 20, 0.25)
    assert planned.losses.empty
    np.testing.assert_allclose(
        planned.learning_rate("pt_decay_r025_peak0.002_steps20"),
        schedules.learning_rates(schedules.wsd(peak=2e-3, steps=20, warmup=2)),
        atol=1e-18,
    )


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"parent": "pt_const", "replay": 0.5}, ["pt_const_r050"]),
        ({"parent": "pt_const", "replay": [0.125, 1]}, ["pt_const_r12.5", "pt_const_r100"]),
        ({"parent": "", "replay": np.linspace(0, 0.07, 2)}, ["cpt_r000", "cpt_r007"]),
        ({"parent": "", "phase": "pt"}, ["pt"]),
        (
            {"parent": "pt_const", "replay": 0, "parent_step": [50, 100]},
            ["pt_const_at50_r000", "pt_const_at100_r000"],
        ),
        (
            {"parent": "pt_const", "replay": 0, "schedule": [schedules.constant(1e-3, 9), SHORT]},
            ["pt_const_r000_constant", "pt_const_r000_wsd"],
        ),
        (
            {"parent": "pt_const", "phase": "pt", "schedule": schedules.wsd(1, 9, decay_shape=["linear", "cosine"])},
            ["pt_const_decay_shapelinear", "pt_const_decay_shapecosine"],
        ),
    ],
)
def test_names_contain_what_varies(tiny: Curves, arguments: dict[str, Any], names: list[str]):
    assert list(resolve(plan(**dict[str, Any](schedule=SHORT) | arguments), tiny).runs.index) == names


def test_a_plan_starts_at_the_last_step_of_its_parent_by_default(tiny: Curves):
    at_the_end = resolve(plan("pt_const", 0.0, schedule=SHORT), tiny)
    before = resolve(plan("pt_const", 0.0, schedule=SHORT, parent_step=60), tiny)
    assert at_the_end.runs["parent_step"].tolist() == [100]
    assert before.runs["parent_step"].tolist() == [60]


def test_no_parent_is_an_open_checkpoint(tiny: Curves):
    planned = resolve(plan("", 0.5, schedule=SHORT), tiny)
    assert [segment.phase for segment in family(planned, tiny).lineage("cpt_r050").segments()] == ["cpt"]


@st.composite
def shapes(draw: st.DrawFn) -> Schedule:
    kind = draw(st.sampled_from(["constant", "linear", "cosine", "wsd"]))
    steps = draw(st.integers(10, 400))
    warmup = draw(st.integers(0, steps // 2))
    fields = {"decay_shape": draw(st.sampled_from(["linear", "cosine", "1-sqrt"]))} if kind == "wsd" else {}
    return schedules.schedule(kind, peak=draw(st.floats(1e-6, 1)), steps=steps, warmup=warmup, **fields)


@settings(deadline=None)
@given(shape=shapes())
def test_the_steps_listed_carry_the_whole_schedule(shape: Schedule):
    planned = resolve(plan("", 0.0, schedule=shape), _nothing())
    exact = schedules.learning_rates(shape)
    assert np.abs(planned.learning_rate("cpt_r000") - exact).max() <= LEARNING_RATE_TOLERANCE * exact.max()


def test_linear_parts_are_listed_by_their_ends(tiny: Curves):
    planned = resolve(plan("", 0.0, schedule=schedules.wsd(peak=3e-4, steps=50_000, warmup=1000)), tiny)
    assert planned.lr["step"].tolist() == [1, 1000, 40_000, 50_000]


def _nothing() -> Curves:
    empty = pd.DataFrame({"run": ["x"], "phase": "pt", "parent": None, "parent_step": None, "replay": None})
    return curves_from_frames(empty, pd.DataFrame({"run": ["x"], "step": [1], "lr": [1.0]}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parent": "pt_deccay"}, "no run is named 'pt_deccay' (did you mean 'pt_decay'?); parents may be cpt_r00"),
        (
            {"parent": "checkpoint_of_old", "replay": [0.1, 0.2]},
            "no run is named 'checkpoint_of_old'; parents may be cpt_r00",
        ),
        ({"parent_step": 101, "parent": "pt_const"}, "parent_step must be a step of the parent"),
        ({"parent": "cpt_r50"}, "replay must be that of its cpt parent"),
        ({"replay": 50}, "replay must be a share from 0 to 1, not 50"),
        ({"replay": None}, "replay must be a share from 0 to 1, not None"),
        ({"replay": True}, "replay must be a share from 0 to 1, not True"),
        ({"replay": float("nan")}, "replay must be a share from 0 to 1, not nan"),
        ({"replay": []}, "replay is an empty list"),
        ({"replay": [0.1, 0.1]}, "must differ in their values; several are named pt_decay_r010"),
        ({"phase": "pt"}, "replay must be left out for a pt run, not 0.0"),
        ({"phase": "CPT"}, "phase must be 'pt' or 'cpt', not 'CPT'"),
        ({"parent": None}, "parent must be the name of a run, or '' for none, not None"),
        ({"parent": "", "parent_step": 5}, "parent must be given"),
        ({"parent_step": 2.5}, "parent_step must be an integer of at least 0, not 2.5"),
        ({"schedule": 1e-3}, "schedule must be a schedule, such as bayes_cpt.wsd makes, not 0.001"),
    ],
)
def test_an_impossible_grid_is_refused(tiny: Curves, arguments: dict[str, Any], words: str):
    sound = {"parent": "pt_decay", "replay": 0.0, "schedule": SHORT}
    assert words in faults_of((sound | arguments)["parent"], tiny, **_without_parent(sound | arguments))


def _without_parent(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name != "parent"}


def test_all_faults_of_a_grid_are_reported_at_once(tiny: Curves):
    faults = faults_of(None, tiny, replay=2, schedule=SHORT, phase="CPT")
    assert len(faults.splitlines()) == 3


# Files --------------------------------------------------------------------------------------------------------------


def test_toml_and_python_give_the_same_plan(tmp_path: Path, tiny: Curves):
    (tmp_path / "grid.toml").write_text(TOML)
    shape = schedules.wsd(peak=[1e-3, 2e-3], steps=30, warmup=5)
    from_toml = resolve(read_plan(tmp_path / "grid.toml"), tiny)
    from_python = resolve(plan("pt_decay", [0, 0.25], schedule=shape), tiny)
    pd.testing.assert_frame_equal(from_toml.runs, from_python.runs)
    pd.testing.assert_frame_equal(from_toml.lr, from_python.lr)


def test_a_schedule_file_is_sought_beside_the_toml_file(tmp_path: Path, tiny: Curves, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "own.csv").write_text("step,lr\n1,0.1\n7,0.3\n")
    (tmp_path / "plans" / "grid.toml").write_text('parent="pt_decay"\nreplay=0\n[schedule]\nkind="own.csv"\n')
    monkeypatch.chdir(tmp_path)
    planned = resolve(read_plan(Path("plans/grid.toml")), tiny)
    np.testing.assert_allclose(planned.learning_rate("pt_decay_r000"), np.linspace(0.1, 0.3, 7))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("replay =", "reply =", "unknown key 'reply' (did you mean 'replay'?); the keys are parent"),
        ('parent = "pt_decay"\n', "", "parent is missing"),
        ("warmup", "warm_up", "unknown field 'warm_up' (did you mean 'warmup'?)"),
        ('"wsd"', '"wds"', "Unknown kind of schedule 'wds'"),
        ('"wsd"', '"lost.csv"', "takes no further fields"),
        ('kind = "wsd"', 'path = "x"', "[schedule] must be a table with a kind: constant"),
        ("steps = 30", 'steps = 30\npath = "x"', "unknown field 'path'"),
        ("steps = 30", "steps = 3", "[schedule] wsd: 5 steps of warm-up"),
        ("[schedule]", "[schedule", "cannot be read as TOML"),
        ("0.25", "25", "replay must be a share from 0 to 1, not 25"),
    ],
)
def test_a_faulty_toml_file_is_refused(tmp_path: Path, tiny: Curves, old: str, new: str, words: str):
    assert TOML.count(old) == 1
    path = tmp_path / "grid.toml"
    path.write_text(TOML.replace(old, new))
    assert words in faults_of(path, tiny)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.toml", "tiny/runs.csv"])
def test_a_path_that_is_no_plan(tmp_path: Path, tiny: Curves, name: str):
    assert "no such plan; give a folder with runs.csv and lr.csv, or a .toml file" in faults_of(tmp_path / name, tiny)


def test_a_folder_may_plan_runs_on_planned_runs(tmp_path: Path, tiny: Curves):
    runs = "first,cpt,pt_decay,20,0.1\nsecond,cpt,first,,0.1\n"
    folder = write(tmp_path / "plan", runs, "first,1,0.1\nfirst,8,0.1\nsecond,1,0.1\nsecond,3,0.0\n")
    planned = resolve(read_plan(folder), tiny)
    assert planned.runs["parent_step"].tolist() == [20, 8]
    assert [part.learning_rate.size for part in family(planned, tiny).lineage("second").segments()] == [80, 20, 8, 3]


def test_a_folder_of_data_serves_as_a_plan_without_its_losses(tiny_folder: Path, tiny: Curves):
    (tiny_folder / "losses.csv").write_text("not,a,table\n")
    planned = resolve(read_plan(tiny_folder), tiny)
    assert list(planned.runs.index) == list(tiny.runs.index)
    assert planned.losses.empty


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("new,cpt,nobody,20,0", "runs.csv: no run is named 'nobody'; parents may be cpt_r00"),
        ("new,cpt,pt_const,101,0", "runs.csv: parent_step must be a step of the parent; row 2 has '101'"),
        ("new,cpt,cpt_r50,10,0", "row 2 has '0' (the parent has 0.5)"),
        ("new,pt,cpt_r50,10,", "parent must be a pt run for a pt run; row 2 has 'cpt_r50'"),
        ("other,cpt,pt_const,20,0", "run must be in the table of learning rates too; row 2 has 'other'"),
    ],
)
def test_a_folder_is_checked_against_the_data(tmp_path: Path, tiny: Curves, run: str, words: str):
    assert words in faults_of(write(tmp_path, f"{run}\n", "new,1,0.1\n"), tiny)


def test_a_folder_without_its_files_is_refused_at_once(tmp_path: Path):
    with pytest.raises(CurvesError, match=r"(?s)2 faults.*runs.csv is missing.*lr.csv is missing"):
        read_plan(tmp_path)


# Runs in progress ---------------------------------------------------------------------------------------------------

RECORDED = "cpt_r00,1,0.0001\ncpt_r00,10,0.001\ncpt_r00,50,0.0\n"


def test_a_run_in_progress_goes_on(tmp_path: Path, tiny: Curves):
    folder = write(tmp_path / "plan", "cpt_r00,cpt,pt_decay,20,0.0\n", f"{RECORDED}cpt_r00,90,0.0005\n")
    planned = resolve(read_plan(folder), tiny)
    both = family(planned, tiny)
    rates = both.lineage("cpt_r00").segments()[-1].learning_rate
    assert rates.size == 90
    np.testing.assert_array_equal(rates[:50], tiny.learning_rate("cpt_r00"))
    assert sorted(both.runs.index) == sorted(tiny.runs.index)


def test_descendants_of_a_run_in_progress_keep_their_lineage(tmp_path: Path, tiny: Curves):
    lr = "pt_const,1,0.002\npt_const,150,0.002\nnew,1,0.1\n"
    folder = write(tmp_path / "plan", "pt_const,pt,,,\nnew,cpt,pt_decay,,0.3\n", lr)
    both = family(resolve(read_plan(folder), tiny), tiny)
    for run in ("pt_decay", "cpt_r50"):
        for old, new in zip(tiny.lineage(run).segments(), both.lineage(run).segments(), strict=True):
            np.testing.assert_array_equal(old.learning_rate, new.learning_rate)
    assert [part.learning_rate.size for part in both.lineage("new").segments()] == [80, 20, 1]


def test_an_lr_written_with_seven_digits_is_the_recorded_one(tmp_path: Path, tiny: Curves):
    rates = "".join(f"cpt_r00,{step},{rate:.7g}\n" for step, rate in enumerate(tiny.learning_rate("cpt_r00"), 1))
    folder = write(tmp_path / "plan", "cpt_r00,cpt,pt_decay,20,0.0\n", f"{rates}cpt_r00,60,0.0\n")
    assert resolve(read_plan(folder), tiny).learning_rate("cpt_r00").size == 60


@pytest.mark.parametrize(
    ("run", "lr", "words"),
    [
        ("cpt,pt_decay,20,0.5", RECORDED, "its replay must stay 0.0, not 0.5"),
        ("cpt,pt_decay,19,0.0", RECORDED, "its parent_step must stay 20, not 19"),
        ("cpt,pt_const,20,0.0", RECORDED, "its parent must stay pt_decay, not pt_const"),
        ("cpt,,,0.0", RECORDED, "its parent must stay pt_decay, not none"),
        ("cpt,pt_decay,20,0.0", "cpt_r00,1,0.0001\ncpt_r00,10,0.001\n", "the recorded end, step 50, not stop at 10"),
        (
            "cpt,pt_decay,20,0.0",
            "cpt_r00,1,0.0001\ncpt_r00,10,0.001\ncpt_r00,60,0.0\n",
            "its LR at step 11 must be the recorded 0.000975, not 0.00098",
        ),
    ],
)
def test_a_run_in_progress_must_repeat_what_was_recorded(tmp_path: Path, tiny: Curves, run: str, lr: str, words: str):
    faults = faults_of(write(tmp_path / "plan", f"cpt_r00,{run}\n", lr), tiny)
    assert "run 'cpt_r00' is in the data, so the plan continues it" in faults
    assert words in faults


def test_planned_runs_have_the_model_size_and_the_batch_of_their_parents(tiny: Curves):
    planned = resolve(plan(parent="pt_decay", replay=[0.0, 0.25], schedule=schedules.constant(1e-3, 50)), tiny)
    assert planned.runs["model_size"].tolist() == [1000, 1000]
    assert planned.runs["batch_tokens"].tolist() == [64, 64]
