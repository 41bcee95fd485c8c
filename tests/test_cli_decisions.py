"""Decisions on the command line: the own plan, limits for whole curves, trade-offs; and what is refused."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import PNG, Run, assert_refused

import bayes_cpt as bc

PLAN = """parent = "pt"
replay = 0.0
[schedule]
kind = "wsd"
peak = [1e-3, 2e-3]
steps = [300, 600]
"""


@pytest.fixture
def fit_file(made_up: bc.Fit, tmp_path: Path) -> Path:
    bc.save(made_up, tmp_path / "fit.nc")
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path / "fit.nc"


def test_all_that_goes_with_a_decision(run: Run, fit_file: Path, tmp_path: Path):
    (tmp_path / "mine.toml").write_text(PLAN.replace("[1e-3, 2e-3]", "1.5e-3").replace("[300, 600]", "450"))
    outcome = run(
        *("decide", fit_file, tmp_path / "plan.toml", "--minimise", "pt + 1e-5*steps", "--at", "best"),
        *("--limit", "pt <= +9 @ 0.5", "--limit", "pt <= 99 throughout @ 0.5", "--joint", "0.3"),
        *("--compare-to", tmp_path / "mine.toml", "--sensitivity", "moves.csv"),
    )
    assert outcome.code in {0, 1}, outcome.err
    assert "at the best checkpoint of each run" in outcome.out
    assert "Your plan pt_r000 is allowed: it meets pt <= +9.0 @ 0.5 and pt <= 99.0 throughout @ 0.5." in outcome.out
    assert "LR 5 % higher: objective" in outcome.out
    assert Path("moves.png").read_bytes().startswith(PNG)
    moved = pd.read_csv("moves.csv")
    assert {"bound of pt <= +9.0 @ 0.5", "probability of pt <= 99.0 throughout @ 0.5"} <= set(moved["varied"])
    table = pd.read_csv("decision.csv")
    assert {"probability_all_limits", "cvar_regret"} <= set(table.columns)
    assert len(table) == 4


def test_a_run_of_the_plan_may_be_the_own_plan(run: Run, fit_file: Path, tmp_path: Path):
    own = "pt_r000_peak0.001_steps300"
    outcome = run("decide", fit_file, tmp_path / "plan.toml", "--minimise", "pt", "--compare-to", own)
    assert f"Your plan {own} is allowed: no limit was given." in outcome.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--at", "middle"], ["at must be 'end' or 'best', not 'middle'"]),
        (["--of", "perplexity"], ["of must be 'change' or 'loss', not 'perplexity'"]),
        (["--joint", "0.9"], ["A joint probability is of meeting limits, and there is none"]),
        (
            ["--limit", "pt <= 3", "--joint", "90"],
            ["joint probability of all limits is 90; it must lie between 0 and 1"],
        ),
        (["--compare-to", "nobody"], ["'nobody' is neither a run of the plan nor a plan", "_peak0.001_steps300"]),
        (["--compare-to", "PLAN"], ["has 4 runs; give a plan of one run"]),
        (["--limit", "pt <= 3 always"], ["not of the form"]),
        (["--minimise", "pt + 1e-20*flops"], ["price for flops, which is not known", "batch_tokens and model_size"]),
        (["--sensitivity", "moves.png"], ["moves.png"]),
        (["--front", "front.png"], ["a trade-off is between two domains, and the forecast has pt alone"]),
    ],
)
def test_what_is_refused(run: Run, fit_file: Path, tmp_path: Path, options: list[str], words: list[str]):
    given = [str(tmp_path / "plan.toml") if word == "PLAN" else word for word in options]
    assert_refused(run("decide", fit_file, tmp_path / "plan.toml", "--minimise", "pt", *given), *words)
