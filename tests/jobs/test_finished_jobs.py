"""Results on disk: read as they were written, or not at all; never those of other work; no file of the user is lost."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayes_cpt as bc
from bayes_cpt.errors import DataError
from bayes_cpt.evaluation.compare import Judged
from bayes_cpt.inference.settings import REFIT
from bayes_cpt.jobs.finished_jobs import begin, key_of, remove

KEY = {"work": "compare", "draws": 400, "data": 64 * "a"}
NAME = "cpt r=0.5 and 1 more by ../mine"


def result() -> Judged:
    points = pd.DataFrame(
        {"run": ["a", "größer"], "step": [1, 2], "loss": [0.1 + 0.2, np.nan], "cover90": [True, False]}
    )
    return Judged(points, points[["run", "loss"]], np.random.default_rng(1).normal(size=(2, 5)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one result."""
    begin(tmp_path / "folds", Judged, KEY, resume=False).write(NAME, result())
    return tmp_path / "folds"


def resumed(folder: Path) -> dict[str, Judged]:
    return begin(folder, Judged, KEY, resume=True).read([NAME, "another"])


def test_a_result_is_read_as_it_was_written(folder: Path):
    found = resumed(folder)
    assert list(found) == [NAME]
    pd.testing.assert_frame_equal(found[NAME].points, result().points)
    pd.testing.assert_frame_equal(found[NAME].densities, result().densities)
    np.testing.assert_array_equal(found[NAME].draws, result().draws)
    assert {path.parent for path in folder.rglob("*.npz")} == {folder}


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[:-200],
        lambda content: content[:40],
        lambda _: b"not an archive",
        lambda content: content.replace(np.array(result().draws[0, 0]).tobytes(), bytes(8)),
    ],
    ids=["empty", "cut", "short", "text", "a number changed"],
)
def test_a_damaged_result_is_done_again(folder: Path, damage: Callable[[bytes], bytes]):
    file = next(folder.glob("*.npz"))
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    assert resumed(folder) == {}


def test_a_process_that_was_killed_while_it_wrote_leaves_no_result(folder: Path):
    """A file is written in a hidden folder and then renamed."""
    left = folder / ".bayes-cpt-x"
    left.mkdir()
    next(folder.glob("*.npz")).rename(left / "half.npz")
    assert resumed(folder) == {}
    remove(folder)
    assert not folder.exists()


def test_other_work_is_refused_and_nothing_is_changed(folder: Path):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=r"draws 400, now 200, data; repeat that command, or start anew without"):
        begin(folder, Judged, {**KEY, "draws": 200, "data": 64 * "b"}, resume=True)
    with pytest.raises(DataError, match=r"model cpt none, now x"):
        begin(folder, Judged, {**KEY, "model cpt": "x"}, resume=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("text", ["", "[1, 2", "7", '"key"'])
def test_a_key_that_cannot_be_read_is_refused(folder: Path, text: str):
    (folder / "key.json").write_text(text)
    with pytest.raises(DataError, match=r"key.json cannot be read: start anew"):
        begin(folder, Judged, KEY, resume=True)


def test_a_result_of_other_work_is_never_read(folder: Path):
    """As when two commands write to one folder at the same time."""
    file = next(folder.glob("*.npz"))
    kept = file.read_bytes()
    other = begin(folder, Judged, {**KEY, "draws": 200}, resume=False)
    file.write_bytes(kept)
    assert other.read([NAME]) == {}


def test_work_that_starts_anew_deletes_old_results(folder: Path):
    begin(folder, Judged, KEY, resume=False)
    assert resumed(folder) == {}
    assert [path.name for path in folder.iterdir()] == ["key.json"]


def test_without_a_folder_resumed_work_starts_at_the_beginning(tmp_path: Path):
    assert resumed(tmp_path / "new") == {}


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_of_the_user_is_not_touched(tmp_path: Path, resume: bool):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.npz").write_text("precious")
    with pytest.raises(DataError, match=r"mine has other files than results"):
        begin(tmp_path / "mine", Judged, KEY, resume)
    remove(tmp_path / "mine")
    assert (tmp_path / "mine" / "weights.npz").read_text() == "precious"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "folds").write_text("precious")
    with pytest.raises(DataError):
        begin(tmp_path / "folds", Judged, KEY, resume=False)
    remove(tmp_path / "folds")
    assert (tmp_path / "folds").read_text() == "precious"


def test_removal_leaves_what_is_no_result(folder: Path):
    (folder / "notes.txt").write_text("precious")
    remove(folder)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    remove(folder / "nowhere")


def test_the_key_has_all_that_results_depend_on(tiny: bc.Curves):
    def key(**changed: object) -> object:
        values: dict[str, object] = {"curves": tiny, "specs": [bc.read_spec("cpt")], "settings": REFIT, "leave": "run"}
        return key_of("backtest", **(values | changed))

    spec = bc.read_spec("cpt")
    others = [
        {"curves": tiny.with_losses(tiny.losses.assign(loss=tiny.losses["loss"] + 1e-9))},
        {"specs": [bc.with_priors(spec, {"beta": "Normal(mu=0.2, sigma=0.1)"})]},
        {"specs": [replace(spec, law=bc.read_spec("cpt-replay").law)]},
        {"specs": [spec, bc.read_spec("cpt-replay")]},
        {"leave": "tail"},
        {"settings": replace(REFIT, seed=2)},
        {"settings": replace(REFIT, tune=7)},
    ]
    assert key() == key(settings=replace(REFIT, progress=True))
    assert all(key(**other) != key() for other in others)
