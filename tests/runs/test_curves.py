"""Curve folders: reading and writing, lineages, selections."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt.errors import DataError
from bayes_cpt.runs.curve_folder import curves_from_frames, digest, read_curves, write_curves
from bayes_cpt.runs.curves import Curves, select


def assert_same(first: Curves, second: Curves) -> None:
    for name in ("runs", "lr", "losses"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
POSITIVE = st.floats(min_value=0, max_value=1e6, exclude_min=True)
RATE = st.floats(min_value=0, max_value=1e3)


@st.composite
def any_curves(draw: st.DrawFn) -> Curves:
    pt, cpt, domain = draw(st.lists(NAMES, min_size=3, max_size=3, unique=True))
    end = draw(st.integers(8, 50))
    runs = pd.DataFrame(
        {
            "run": [pt, cpt],
            "phase": ["pt", "cpt"],
            "parent": [None, pt],
            "parent_step": [None, draw(st.integers(0, end))],
            "replay": [None, draw(st.floats(0, 1))],
            "model_size": draw(st.one_of(st.none(), st.integers(1, 10**12))),
            "note": draw(st.lists(st.one_of(st.none(), NAMES.map("x{}".format)), min_size=2, max_size=2)),
        }
    )
    rates = draw(st.lists(RATE, min_size=4, max_size=4))
    lr = pd.DataFrame({"run": [pt, pt, cpt, cpt], "step": [1, end, end, 1], "lr": rates})
    losses = draw(st.lists(POSITIVE, min_size=8, max_size=8))
    return curves_from_frames(runs, lr, pd.DataFrame({"run": cpt, "step": range(8), "domain": domain, "loss": losses}))


class Unwritable:
    """A cell on which writing fails half way."""

    def __str__(self) -> str:
        raise OSError("disk full")


@settings(max_examples=min(40, settings().max_examples), deadline=None)
@given(curves=any_curves())
def test_written_and_read_curves_are_the_same(tmp_path_factory: pytest.TempPathFactory, curves: Curves):
    folder = tmp_path_factory.mktemp("curves")
    write_curves(curves, folder)
    again = read_curves(folder)
    assert digest(again) == digest(curves)
    for name in ("lr", "losses"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(curves, name), check_exact=True)
    pd.testing.assert_frame_equal(
        again.runs.drop(columns="note"), curves.runs.drop(columns="note"), check_exact=True, check_column_type=False
    )
    assert again.runs["note"].fillna("").tolist() == curves.runs["note"].fillna("").tolist()


def test_writing_replaces_a_folder_and_leaves_nothing_else(tiny: Curves, tiny_folder: Path):
    write_curves(select(tiny, "run == 'cpt_r00'"), tiny_folder)
    assert sorted(path.name for path in tiny_folder.iterdir()) == ["losses.csv", "lr.csv", "runs.csv"]
    assert list(read_curves(tiny_folder).runs.index) == ["pt_const", "pt_decay", "cpt_r00"]


def test_a_failed_write_leaves_the_folder_as_it_was(tiny: Curves, tiny_folder: Path):
    before = {path.name: path.read_bytes() for path in tiny_folder.iterdir()}
    cells = pd.Series([Unwritable()] * len(tiny.losses))
    unwritable = Curves(tiny.runs.head(1), tiny.lr.head(1), tiny.losses.assign(domain=cells))
    with pytest.raises(OSError, match="disk full"):
        write_curves(unwritable, tiny_folder)
    assert {path.name: path.read_bytes() for path in tiny_folder.iterdir()} == before


def test_types_and_order_of_what_is_read(tiny: Curves):
    assert list(tiny.runs.index) == ["pt_const", "pt_decay", "cpt_r00", "cpt_r50"]
    assert tiny.runs["parent_step"].tolist() == [pd.NA, 80, 20, 20]
    assert tiny.runs["parent"].isna().tolist() == [True, False, False, False]
    assert tiny.runs["replay"].dtype == float
    assert tiny.losses.iloc[0].tolist() == ["pt_const", 10, "pt", 2.0909]


def test_further_columns_are_kept_and_can_be_queried(tiny_folder: Path):
    lines = (tiny_folder / "runs.csv").read_text().splitlines()
    extra = ["width,note", "32,first", "32,", "64,NA", "64,x"]
    (tiny_folder / "runs.csv").write_text("".join(f"{line},{e}\n" for line, e in zip(lines, extra, strict=True)))
    curves = read_curves(tiny_folder)
    assert curves.runs["width"].tolist() == [32, 32, 64, 64]
    assert curves.runs["note"].fillna("").tolist() == ["first", "", "NA", "x"]
    assert list(select(curves, "width > 32 and note == 'x'").runs.index) == ["pt_const", "pt_decay", "cpt_r50"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tiny: Curves, tiny_folder: Path):
    for path in tiny_folder.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert_same(read_curves(tiny_folder), tiny)


def test_optional_columns_may_be_absent_and_a_cpt_run_may_have_no_parent(tiny: Curves):
    runs = tiny.runs.drop(columns=["model_size", "seed"]).loc[["cpt_r00"]].assign(parent=None, parent_step=None)
    curves = curves_from_frames(runs, tiny.lr.query("run == 'cpt_r00'"), None)
    assert curves.runs["model_size"].isna().all()
    assert [segment.phase for segment in curves.lineage("cpt_r00").segments()] == ["cpt"]


@settings(max_examples=min(20, settings().max_examples), deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_digest_does_not_depend_on_the_order_of_rows(microcpt: Curves, seed: int):
    order = np.random.default_rng(seed)
    frames = [microcpt.runs, microcpt.lr.head(100), microcpt.losses.head(100)]
    mixed = [frame.iloc[order.permutation(len(frame))] for frame in frames]
    assert digest(Curves(*mixed)) == digest(Curves(*frames))


def test_digest_does_not_depend_on_how_numbers_are_written(tiny: Curves, tiny_folder: Path):
    (tiny_folder / "lr.csv").write_text((tiny_folder / "lr.csv").read_text().replace("0.001", "1.00e-3"))
    assert digest(read_curves(tiny_folder)) == digest(tiny)


@pytest.mark.parametrize(
    ("table", "column", "value"), [("runs", "replay", 0.25), ("lr", "lr", 0.1), ("losses", "loss", 2.0)]
)
def test_digest_changes_with_any_value(tiny: Curves, table: str, column: str, value: float):
    frames = {name: getattr(tiny, name).copy() for name in ("runs", "lr", "losses")}
    frames[table].loc[frames[table].index[-1], column] = value
    assert digest(Curves(**frames)) != digest(tiny)


def test_learning_rates_are_linear_between_the_listed_steps(tiny: Curves):
    rates = tiny.learning_rate("cpt_r00")
    assert rates.shape == (50,)
    np.testing.assert_allclose(rates[[0, 1, 9, 29, 49]], [1e-4, 2e-4, 1e-3, 5e-4, 0], atol=1e-18)
    assert tiny.end_step("cpt_r00") == 50


def test_learning_rates_do_not_depend_on_the_order_of_rows(tiny: Curves):
    backwards = Curves(tiny.runs, tiny.lr.iloc[::-1], tiny.losses)
    np.testing.assert_array_equal(backwards.learning_rate("cpt_r00"), tiny.learning_rate("cpt_r00"))


def test_a_lineage_is_cut_at_its_branch_steps(tiny: Curves):
    assert tiny.lineage("cpt_r50").ancestors == ("pt_const", "pt_decay")
    assert tiny.lineage("pt_const").ancestors == ()
    segments = tiny.lineage("cpt_r50").segments()
    assert [segment.phase for segment in segments] == ["pt", "pt", "cpt"]
    assert [segment.learning_rate.size for segment in segments] == [80, 20, 50]
    np.testing.assert_array_equal(segments[-1].learning_rate, tiny.learning_rate("cpt_r50"))


def test_a_branch_at_step_0_has_nothing_of_its_parent(tiny: Curves):
    runs = tiny.runs.copy()
    runs.loc["cpt_r50", "parent_step"] = 0
    segments = curves_from_frames(runs, tiny.lr, tiny.losses).lineage("cpt_r50").segments()
    assert [segment.learning_rate.size for segment in segments] == [80, 50]


def test_an_unknown_run_is_refused_with_a_hint(tiny: Curves):
    with pytest.raises(DataError, match=r"no run 'cpt_r5' \(did you mean 'cpt_r50'\?\)"):
        tiny.learning_rate("cpt_r5")


def test_select_keeps_parents_and_the_wanted_domains(tiny: Curves):
    kept = select(tiny, "replay == 0.5", ["cpt"])
    assert list(kept.runs.index) == ["pt_const", "pt_decay", "cpt_r50"]
    assert set(kept.lr["run"]) == set(kept.losses["run"]) == set(kept.runs.index)
    assert set(kept.losses["domain"]) == {"cpt"}
    np.testing.assert_array_equal(
        kept.lineage("cpt_r50").segments()[0].learning_rate, tiny.lineage("cpt_r50").segments()[0].learning_rate
    )


def test_select_without_conditions_keeps_all(tiny: Curves):
    assert_same(select(tiny), tiny)


def test_select_may_compare_a_column_with_empty_cells(tiny: Curves):
    assert list(select(tiny, "parent_step == 80").runs.index) == ["pt_const", "pt_decay"]


@pytest.mark.parametrize(
    ("where", "domains", "words"),
    [
        ("size == 1000", None, "fails .* the columns are run, phase, .*model_size"),
        ("model_size ==", None, "fails .* the columns are run"),
        ("replay", None, "fails .* the columns are run"),
        ("", None, "fails .* the columns are run"),
        ("model_size == 7", None, "matches none of the 4 runs; the columns are run"),
        (None, ["pt", "cppt"], r"No domain 'cppt' \(did you mean 'cpt'\?\); the domains are cpt, pt"),
        (None, [], "No losses are left"),
    ],
)
def test_an_impossible_selection_names_the_options(
    tiny: Curves, where: str | None, domains: list[str] | None, words: str
):
    with pytest.raises(DataError, match=words):
        select(tiny, where, domains)


def test_a_plan_goes_on_from_known_runs_once_merged(tiny: Curves):
    runs = pd.DataFrame({"run": ["next"], "phase": "cpt", "parent": "cpt_r50", "parent_step": 10, "replay": 0.5})
    lr = pd.DataFrame({"run": "next", "step": [1, 3], "lr": [0.1, 0.3]})
    planned = curves_from_frames(runs, lr, known=tiny)
    assert planned.losses.empty
    with pytest.raises(DataError, match="no run 'cpt_r50'"):
        planned.lineage("next").segments()
    both = tiny.joined(planned)
    assert [segment.learning_rate.size for segment in both.lineage("next").segments()] == [80, 20, 10, 3]
    assert both.runs.dtypes.to_dict() == tiny.runs.dtypes.to_dict()
    pd.testing.assert_frame_equal(both.losses, tiny.losses)


def test_merge_refuses_a_name_twice_and_a_parent_in_neither(tiny: Curves):
    with pytest.raises(DataError, match="pt_const, pt_decay"):
        tiny.joined(tiny)
    child = Curves(tiny.runs.loc[["cpt_r00"]], tiny.lr.query("run == 'cpt_r00'"), tiny.losses.head(0))
    other = Curves(*(frame.head(0) for frame in (tiny.runs, tiny.lr, tiny.losses)))
    with pytest.raises(DataError, match="no run 'pt_decay'"):
        other.joined(child)
