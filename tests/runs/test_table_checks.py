"""Every fault of a curve folder is reported, with its place and what would be right."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayes_cpt.errors import CurvesError
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves

type Break = Callable[[Path], object]


def swap(name: str, old: str, new: str) -> Break:
    """Return a way to break a folder: replace the one place of a text in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        (folder / name).write_text(text.replace(old, new))

    return change


def add(name: str, *rows: str) -> Break:
    """Return a way to break a folder: append rows to a file."""
    return lambda folder: (folder / name).write_text((folder / name).read_text() + "".join(f"{row}\n" for row in rows))


def fill(name: str, content: bytes) -> Break:
    """Return a way to break a folder: give a file another content."""
    return lambda folder: (folder / name).write_bytes(content)


def drop(name: str, start: str) -> Break:
    """Return a way to break a folder: drop the rows of a file that start so."""

    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if not line.startswith(start)))

    return change


PT_CONST, CPT_R50 = "pt_const,pt,,,,1000", "cpt_r50,cpt,pt_decay,20,0.5,1000"

# how to break the folder; words of one of the faults
FAULTS: dict[str, tuple[Break, list[str]]] = {
    "file missing": (lambda folder: (folder / "lr.csv").unlink(), ["lr.csv is missing", "run, step, lr"]),
    "file empty": (fill("losses.csv", b""), ["losses.csv is empty", "run, step, domain, loss"]),
    "not UTF-8": (fill("runs.csv", "run,größe\n".encode("latin-1")), ["runs.csv is not UTF-8", "0xf6", "offset 6"]),
    "UTF-16": (fill("runs.csv", "run".encode("utf-16")), ["runs.csv is not UTF-8", "byte offset 0"]),
    "open quote": (add("lr.csv", '"cpt_r50,60,0.0'), ["lr.csv row 12 is not CSV"]),
    "cells too many": (
        swap("lr.csv", "pt_const,100,0.002", "pt_const,100,0,002"),
        ["lr.csv: each row must have 3 cells", "row 3 has 4"],
    ),
    "no rows": (fill("losses.csv", b"run,step,domain,loss\n"), ["losses.csv has no rows"]),
    "columns missing": (
        fill("losses.csv", b"run,steps,x\n"),
        ["losses.csv row 1 lacks the columns 'step', 'domain', 'loss'", "'steps' (did you mean 'step'?)"],
    ),
    "other separator": (fill("lr.csv", b"run;step;lr\na;1;1\n"), ["lr.csv row 1 lacks", "'run;step;lr'", "commas"]),
    "optional column misspelt": (
        swap("runs.csv", "model_size", "modelsize"),
        ["lacks the columns 'model_size';", "'modelsize' (did you mean 'model_size'?)"],
    ),
    "column twice": (fill("lr.csv", b"run,step,lr,lr\n"), ["lr.csv row 1", "'lr' occurs more than once"]),
    "run twice": (add("runs.csv", "pt_const,pt,,,,1000,64,0"), ["runs.csv: run", "row 6 repeats row 2 (pt_const)"]),
    "lr step twice": (add("lr.csv", "pt_const,1.0,0.1"), ["lr.csv: run, step", "row 12 repeats row 2 (pt_const, 1.0)"]),
    "loss twice": (add("losses.csv", "pt_const,10,pt,3"), ["losses.csv: run, step, domain", "row 50 repeats row 2"]),
    "run unnamed": (
        swap("runs.csv", CPT_R50, ",cpt,pt_decay,20,0.5,1000"),
        ["run must be a name", "row 5", "empty cell"],
    ),
    "domain with NUL": (add("losses.csv", "pt_const,20,p\0t,3"), ["losses.csv: domain must be a name", "without NUL"]),
    "domain too long": (add("losses.csv", f"pt_const,20,{'x' * 201},3"), ["a name of at most 200 letters"]),
    "domain unnamed": (add("losses.csv", "pt_const,20,,3"), ["losses.csv: domain must be a name", "row 50"]),
    "phase unknown": (
        swap("runs.csv", PT_CONST, "pt_const,PT,,,,1000"),
        ["phase must be 'pt' or 'cpt'", "row 2 has 'PT'"],
    ),
    "lr of no run": (add("lr.csv", "ghost,1,0.1"), ["lr.csv: run must be in the table of runs", "row 12 has 'ghost'"]),
    "loss of no run": (add("losses.csv", "ghost,1,pt,3"), ["losses.csv: run must be in the table of runs", "'ghost'"]),
    "no schedule": (
        drop("lr.csv", "cpt_r50"),
        ["runs.csv: run must be in the table of learning rates", "row 5 has 'cpt_r50'"],
    ),
    "parent unknown": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_dekay,20,0.5,1000"),
        ["parent must be the name of a run", "row 5 has 'pt_dekay'"],
    ),
    "circle": (
        swap("runs.csv", PT_CONST, "pt_const,pt,pt_decay,20,,1000"),
        ["runs.csv row 2", "pt_const -> pt_decay -> pt_const"],
    ),
    "own parent": (swap("runs.csv", PT_CONST, "pt_const,pt,pt_const,20,,1000"), ["row 2", "pt_const -> pt_const"]),
    "no parent_step": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,,0.5,1000"),
        ["parent_step must be given", "row 5"],
    ),
    "no parent": (swap("runs.csv", CPT_R50, "cpt_r50,cpt,,20,0.5,1000"), ["parent must be given", "row 5"]),
    "branch too late": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,21,0.5,1000"),
        ["parent_step must be a step of the parent", "row 5 has '21' (it ends at step 20)"],
    ),
    "branch before 0": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,-1,0.5,1000"),
        ["parent_step", "row 5 has '-1'"],
    ),
    "branch within a step": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,2.5,0.5,1000"),
        ["parent_step must be an integer", "row 5 has '2.5'"],
    ),
    "pt after cpt": (
        add("runs.csv", "late,pt,cpt_r00,5,,1000,64,0"),
        ["parent must be a pt run for a pt run", "row 6 has 'cpt_r00'"],
    ),
    "pt with replay": (
        swap("runs.csv", PT_CONST, "pt_const,pt,,,0.1,1000"),
        ["replay must be empty", "row 2 has '0.1'"],
    ),
    "cpt without replay": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,20,,1000"),
        ["replay must be a share", "row 5"],
    ),
    "replay in per cent": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,20,50,1000"),
        ["replay must be a share from 0 to 1", "row 5 has '50'"],
    ),
    "replay changes": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,cpt_r00,20,0.5,1000"),
        ["replay must be that of its cpt parent", "row 5 has '0.5' (the parent has 0)"],
    ),
    "loss no number": (
        add("losses.csv", "pt_const,99,pt,three"),
        ["loss must be a finite number", "row 50 has 'three'"],
    ),
    "loss missing": (
        add("losses.csv", "pt_const,99,pt,"),
        ["loss must be a finite number", "row 50 has an empty cell"],
    ),
    "loss nan": (add("losses.csv", "pt_const,99,pt,nan"), ["loss must be a finite number", "row 50 has 'nan'"]),
    "loss infinite": (add("losses.csv", "pt_const,99,pt,inf"), ["loss must be a finite number", "row 50 has 'inf'"]),
    "loss zero": (add("losses.csv", "pt_const,99,pt,0"), ["loss must be a finite number above 0", "row 50 has '0'"]),
    "lr negative": (swap("lr.csv", "cpt_r00,10,0.001", "cpt_r00,10,-0.001"), ["lr must be", "row 7 has '-0.001'"]),
    "lr infinite": (swap("lr.csv", "cpt_r00,10,0.001", "cpt_r00,10,inf"), ["lr must be a finite", "row 7 has 'inf'"]),
    "lr from 0": (swap("lr.csv", "cpt_r00,1,", "cpt_r00,0,"), ["step must be an integer from 1", "row 6 has '0'"]),
    "lr starts late": (
        swap("lr.csv", "cpt_r00,1,", "cpt_r00,2,"),
        ["step must be 1 at the start", "subtract parent_step from all of them", "row 6 has '2'"],
    ),
    "lr within a step": (swap("lr.csv", "cpt_r00,10,", "cpt_r00,9.5,"), ["step must be an integer", "row 7 has '9.5'"]),
    "loss too late": (
        add("losses.csv", "cpt_r50,51,pt,3"),
        ["within the run's schedule", "row 50 has '51' (it ends at step 50)"],
    ),
    "loss before 0": (
        add("losses.csv", "cpt_r50,-1,pt,3"),
        ["losses.csv: step must be an integer from 0", "row 50 has '-1'"],
    ),
    "loss within a step": (add("losses.csv", "cpt_r50,1.5,pt,3"), ["step must be an integer", "row 50 has '1.5'"]),
    "loss before training": (
        add("losses.csv", "pt_const,0,pt,9"),
        ["step must be 1 or more in a run from scratch", "row 50"],
    ),
    "size zero": (swap("runs.csv", PT_CONST, "pt_const,pt,,,,0"), ["model_size must be a positive", "row 2 has '0'"]),
    "size no number": (
        swap("runs.csv", PT_CONST, "pt_const,pt,,,,1B"),
        ["model_size must be a positive", "row 2 has '1B'"],
    ),
    "size changes": (
        swap("runs.csv", CPT_R50, "cpt_r50,cpt,pt_decay,20,0.5,2000"),
        ["model_size must be that of its parent", "row 5 has '2000' (the parent has 1000)"],
    ),
    "batch no number": (
        swap("runs.csv", PT_CONST + ",64", PT_CONST + ",4M"),
        ["batch_tokens must be a positive integer", "row 2 has '4M'"],
    ),
    "seed beyond a float": (
        swap("runs.csv", PT_CONST + ",64,0", PT_CONST + ",64,9007199254740993"),
        ["seed must be an integer below 2**53", "row 2 has '9007199254740993'"],
    ),
    "domain sparse": (add("losses.csv", "pt_const,10,de,3", "pt_const,20,de,3"), ["domain 'de' has 2", "8 or more"]),
}


def faults_of(folder: Path) -> tuple[str, ...]:
    with pytest.raises(CurvesError) as caught:
        read_curves(folder)
    assert str(folder) in str(caught.value)
    return caught.value.faults


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_reported_with_its_place(tiny_folder: Path, name: str):
    break_folder, words = FAULTS[name]
    break_folder(tiny_folder)
    faults = faults_of(tiny_folder)
    assert any(all(word in fault for word in words) for fault in faults), faults


def test_no_folder(tmp_path: Path):
    assert "no such folder" in faults_of(tmp_path / "nowhere")[0]


CASCADES = {"run unnamed", "domain with NUL", "domain too long", "pt after cpt", "size zero"}
"""Single mistakes with several consequences."""


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - CASCADES))
def test_a_fault_is_reported_once_and_alone(tiny_folder: Path, name: str):
    FAULTS[name][0](tiny_folder)
    assert len(faults_of(tiny_folder)) == 1


def test_one_fault_is_one_sentence(tiny_folder: Path):
    swap("lr.csv", "cpt_r00,10,0.001", "cpt_r00,10,oops")(tiny_folder)
    assert faults_of(tiny_folder) == ("lr.csv: lr must be a finite number, 0 or more; row 7 has 'oops'",)


def test_all_faults_at_once(tiny_folder: Path):
    together = (
        "phase unknown",
        "replay in per cent",
        "lr negative",
        "loss of no run",
        "loss too late",
        "domain sparse",
    )
    for name in together:
        FAULTS[name][0](tiny_folder)
    faults = faults_of(tiny_folder)
    assert {fault.split(":")[0] for fault in faults} == {"runs.csv", "lr.csv", "losses.csv"}
    # rows appended to losses.csv follow one another, so only what does not depend on the row is looked for
    for word in ("phase must", "replay must", "lr must", "'ghost'", "(it ends at step 50)", "domain 'de'"):
        assert sum(word in fault for fault in faults) == 1, (word, faults)
    assert len(faults) == len(together)


def test_a_file_that_cannot_be_read_does_not_hide_faults_of_the_others(tiny_folder: Path):
    (tiny_folder / "lr.csv").unlink()
    FAULTS["phase unknown"][0](tiny_folder)
    FAULTS["loss zero"][0](tiny_folder)
    assert [fault.split()[0] for fault in faults_of(tiny_folder)] == ["lr.csv", "runs.csv:", "losses.csv:"]


def test_many_rows_of_one_fault_are_counted(tiny_folder: Path):
    add("losses.csv", *(f"pt_const,50,d{row},-{row}" for row in range(1, 1240)))(tiny_folder)
    (fault,) = (fault for fault in faults_of(tiny_folder) if "loss must" in fault)
    assert "row 50 has '-1'" in fault
    assert "row 54 has '-5' and 1,234 more" in fault
    assert "row 55" not in fault


def test_rows_are_lines_of_the_file_despite_blank_lines(tiny_folder: Path):
    text = (tiny_folder / "lr.csv").read_text().replace("pt_decay,1,", "\n\npt_decay,1,")
    (tiny_folder / "lr.csv").write_text(text)
    assert len(read_curves(tiny_folder).lr) == 10
    swap("lr.csv", "cpt_r50,50,0.0", "cpt_r50,50,?")(tiny_folder)
    assert "row 13 has '?'" in faults_of(tiny_folder)[0]


def test_frames_made_in_python_meet_the_same_checks(tiny_folder: Path):
    curves = read_curves(tiny_folder)
    losses = curves.losses.assign(loss=curves.losses["loss"].where(curves.losses.index != 3))
    with pytest.raises(CurvesError) as caught:
        curves_from_frames(curves.runs.assign(replay=2.0), curves.lr.drop(columns="lr"), losses)
    assert [fault.split(";")[0] for fault in caught.value.faults] == [
        "lr row 1 lacks the columns 'lr'",
        "runs: replay must be empty for a pt run",
        "runs: replay must be a share from 0 to 1 for a cpt run",
        "losses: loss must be a finite number above 0",
    ]
    assert "row 3 has an empty cell" in caught.value.faults[-1]


def test_a_large_table_of_faults_stays_short(tiny_folder: Path):
    curves = read_curves(tiny_folder)
    many = pd.DataFrame({"run": "ghost", "step": np.arange(100_000), "domain": "pt", "loss": -1.0})
    with pytest.raises(CurvesError) as caught:
        curves_from_frames(curves.runs, curves.lr, many)
    assert len(str(caught.value)) < 500
    assert "99,995 more" in str(caught.value)
