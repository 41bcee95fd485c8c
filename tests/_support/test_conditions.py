"""Conditions select the rows that they say, and nothing in them is ever run."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_cpt._support.conditions import DEEPEST, LONGEST, matching
from bayes_cpt.errors import DataError

TABLE = pd.DataFrame(
    {
        "run": ["a", "b", "c's", "007"],
        "phase": ["pt", "cpt", "cpt", "cpt"],
        "replay": [np.nan, 0.0, 0.25, 0.5],
        "model_size": pd.array([100, 100, None, 200], dtype="Int64"),
        "my note": ["x", "", None, "y"],
    }
).set_index("run")


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("phase == 'cpt'", "bc7"),
        ('phase != "cpt"', "a"),
        ("replay < 0.3", "bc"),
        ("0 < replay <= .5", "c7"),
        ("replay != 0", "ac7"),
        ("model_size == 100", "ab"),
        ("100 < model_size", "7"),
        ("model_size == 1e2 and replay == 0", "b"),
        ("phase == 'pt' or replay >= 0.5", "a7"),
        ("not phase == 'cpt'", "a"),
        ("phase == 'cpt' and not (replay == 0 or replay == .5)", "c"),
        ("(phase == 'pt') | (replay == 0.5)", "a7"),
        ("(phase == 'cpt') & ~(replay == 0.5)", "bc"),
        ("run in ['a', '007']", "a7"),
        ("run not in ('a', 'b')", "c7"),
        ("run in []", ""),
        ('run == "c\'s"', "c"),
        ("`my note` == 'y'", "7"),
        ("`my note` == ''", "bc"),
        ("replay == -0", "b"),
        ("phase == 'cpt' or phase == 'pt' and replay == 0", "bc7"),
    ],
)
def test_rows_that_match(condition: str, rows: str):
    places = dict(zip("abc7", range(4), strict=True))
    expected = [place in [places[row] for row in rows] for place in range(4)]
    assert matching(TABLE, condition).tolist() == expected


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("", "a column, a number or a string must come before 'its end'"),
        ("phase", "a comparison"),
        ("phase = 'pt'", "equality is written =="),
        ("phase == 'pt", "cannot be read at"),
        ("phase == 'pt' and", "must come before 'its end'"),
        ("(phase == 'pt'", "a closing bracket"),
        ("phase == 'pt')", "and, or, or the end"),
        ("run in 'a'", "a list in brackets"),
        ("run in ['a' 'b']", "a comma or a closing bracket"),
        ("phaze == 'pt'", "no column 'phaze' \\(did you mean 'phase'\\?\\)"),
        ("phase == pt", "no column 'pt'.* text stands in quotes"),
        ("phase == 3", "phase is text and 3 a number"),
        ("model_size == '100'", "'100' is text and model_size a number"),
        ("phase < 'd'", "phase is text, which can be compared with ==, != and in"),
        ("(" * (DEEPEST + 2) + "replay == 0", "brackets and nots within each other"),
        ("not " * (DEEPEST + 2) + "replay == 0", "brackets and nots within each other"),
        ("replay == 0" + " " * LONGEST, "at most 1,000 are read"),
        ("replay + 1 == 2", "cannot be read at"),
        ("replay.sum() == 2", "cannot be read at"),
        ("phase.to_csv('pwned')", "cannot be read at"),
        ("@pd.io.common.os.system('touch pwned')", "cannot be read at"),
        ("`phase`.to_csv('pwned')", "cannot be read at"),
        ("run.agg('to_csv', path_or_buf='pwned')", "cannot be read at"),
        ("__import__('os').system('touch pwned')", "cannot be read at"),
        ("exit()", "no column 'exit'"),
    ],
)
def test_what_is_no_condition_is_refused_and_not_run(
    condition: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=words):
        matching(TABLE, condition)
    assert not list(tmp_path.iterdir())


@given(st.text(alphabet="abrun phase==!<>()[]'\"`.,0123456789@&|~notandori_-+*", max_size=60))
def test_any_text_gives_rows_or_a_sentence(text: str):
    with suppress(DataError):
        assert matching(TABLE, text).shape == (4,)
