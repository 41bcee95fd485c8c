"""Findings on the command line: what is printed, and how it is accepted."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import drawn_from_prior
from mutations import Mistake, micro_steps, sound, spike, tokens

import bayes_cpt as bc
from bayes_cpt.cli import commands, main

type Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return the command line: exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bayes-cpt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        written, complained = capsys.readouterr()
        return int(str(caught.value.code)), written, complained

    return call


def folder(mistake: Mistake) -> Path:
    bc.write_curves(mistake(sound(1, "small"), np.random.default_rng(1), 0.5).curves, "data")
    return Path("data")


def test_check_prints_warnings_below_what_the_folder_has(run: Run):
    code, out, err = run("check", folder(micro_steps))
    assert (code, err) == (0, "")
    assert "What is hardly right:\n- the losses of a, b, c end at 1/4 of the schedule" in out
    assert "--accept micro-steps" in out


def test_check_refuses_what_cannot_be_right_and_goes_on_if_it_is_accepted(run: Run):
    code, out, err = run("check", folder(tokens))
    assert (code, out) == (2, "")
    assert err.startswith("bayes-cpt: the data cannot be right: 1 fault\n  - run 'pt_decay' ends at step")
    assert not Path("check.png").exists()
    code, _, err = run("check", "data", "--accept", "token-for-steps")
    assert code == 2
    assert "unknown finding 'token-for-steps' (did you mean 'tokens-for-steps'?)" in err


def test_fit_warns_before_it_compiles_unless_that_is_accepted(run: Run, monkeypatch: pytest.MonkeyPatch):
    average = bc.inference.average
    monkeypatch.setattr(average, "prepare_all", lambda *_: {"cpt-replay": None})
    monkeypatch.setattr(average, "fit_prepared", lambda *_: _with_digest())
    monkeypatch.setattr(commands.bc, "predictive_check", lambda fit, **_: (fit, "the check"), raising=False)
    monkeypatch.setattr(commands.bc, "save", lambda *_: None, raising=False)
    code, out, err = run("fit", folder(spike))
    assert code == 0
    assert err.startswith("warning: run 'b': 2 points stand out from the neighbours and are set aside (step")
    assert err.count("\n") == 1
    assert "Warning: run 'b': 2 points stand out" in out
    assert run("fit", "data", "--accept", "outlier")[2] == ""


def _with_digest() -> bc.Fit:
    fit = drawn_from_prior("cpt-replay")
    fit.tree.attrs["data_digest"] = ""
    return fit


@pytest.mark.parametrize("command", ["backtest", "compare"])
def test_backtests_and_comparisons_refuse_too(run: Run, command: str):
    models = ("-m", "cpt-replay", "-m", "cpt-power") if command == "compare" else ()
    code, _, err = run(command, folder(tokens), *models)
    assert code == 2
    assert "tokens given as steps" in err


def test_a_forecast_is_printed_with_what_was_found(run: Run, monkeypatch: pytest.MonkeyPatch):
    fit = drawn_from_prior("cpt-replay")
    checked = bc.vetted(spike(sound(1, "small"), np.random.default_rng(1), 0.5).curves)
    fit.tree.attrs.update(checked.attributes)
    monkeypatch.setattr(commands.bc, "load", lambda _: fit, raising=False)
    Path("plan.toml").write_text(
        'parent = "pt"\nreplay = [0.0]\n[schedule]\nkind = "constant"\npeak = 2e-3\nsteps = 900\n'
    )
    code, _, err = run("forecast", "fit.nc", "plan.toml", "--plot", "forecast.png")
    assert code == 0
    assert f"warning: the fitted data: {checked.findings[0].sentence}" in err
    code, out, _ = run("decide", "fit.nc", "plan.toml")
    assert code == 0
    assert f"Warning: {checked.findings[0].sentence}" in out
