"""The command line: exit codes, messages, and that nothing is written when the input is bad."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from conftest import PNG, Run, assert_refused, comparison_of, drawn_from_prior

import bayes_cpt as bc
from bayes_cpt.cli import commands, output
from bayes_cpt.errors import BayesCptError
from bayes_cpt.statistical_model.model_files import ModelSpec


def test_check_lists_what_is_in_a_folder_and_draws_it(run: Run, tiny_folder: Path):
    outcome = run("check", tiny_folder, "--plot", "figures/curves.png")
    assert (outcome.code, outcome.err) == (0, "")
    assert all(word in outcome.out for word in ("4 runs", "pt_const", "cpt_r50", "wrote figures/curves.png"))
    assert Path("figures/curves.png").read_bytes().startswith(PNG)
    assert [path.name for path in Path("figures").iterdir()] == ["curves.png"]


def test_check_of_a_selection(run: Run, tiny_folder: Path):
    outcome = run("check", tiny_folder, "--where", "replay == 0.5", "--domains", "pt")
    assert outcome.code == 0
    assert "3 runs" in outcome.out
    assert "cpt_r00" not in outcome.out
    assert Path("check.png").read_bytes().startswith(PNG)


def rewrite(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Return a way to break a folder."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "lr.csv").unlink(), ["lr.csv is missing"]),
        (rewrite("losses.csv", "cpt_r00,0,pt,2.0099", "cpt_r00,0,pt,nan"), ["losses.csv", "loss", "'nan'"]),
        (rewrite("runs.csv", "replay", "replai"), ["runs.csv row 1", "'replay'"]),
        (rewrite("runs.csv", "cpt_r50,cpt,pt_decay", "cpt_r50,cpt,pt_lost"), ["runs.csv", "'pt_lost'"]),
        (lambda folder: (folder / "runs.csv").write_bytes(b"\xff\xfe\x00"), ["runs.csv is not UTF-8"]),
    ],
    ids=["no lr.csv", "loss is nan", "misspelt column", "unknown parent", "not text"],
)
def test_check_refuses_a_broken_folder(run: Run, tiny_folder: Path, damage: Callable[[Path], object], words: list[str]):
    damage(tiny_folder)
    assert_refused(run("check", tiny_folder), str(tiny_folder), *words)


@pytest.mark.parametrize(
    "command",
    [
        ["check", "DATA", "--plot"],
        ["fit", "DATA", "--prior-predictive"],
        ["forecast", "fit.nc", "plan.toml", "--plot"],
        ["decide", "fit.nc", "plan.toml", "--plot"],
        ["backtest", "DATA", "--plot"],
        ["compare", "DATA", "-m", "cpt", "-m", "cpt-replay", "--plot"],
    ],
    ids=lambda command: command[0],
)
def test_a_figure_that_cannot_be_drawn_is_refused_before_any_work(run: Run, command: list[str]):
    assert_refused(run(*command, "figure.docx"), "cannot draw figure.docx", ".png")


def test_every_fault_of_a_folder_is_in_the_one_message(run: Run, tiny_folder: Path):
    rewrite("losses.csv", "cpt_r00,0,pt,2.0099", "cpt_r00,0,pt,-3")(tiny_folder)
    rewrite("runs.csv", "cpt_r50,cpt", "cpt_r50,sft")(tiny_folder)
    assert_refused(run("check", tiny_folder), "faults", "'-3'", "'sft'")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--where", "modelsize == 1000"], ["modelsize", "model_size", "the columns are"]),
        (["--where", "model_size =="], ["the query", "the columns are"]),
        (["--where", "model_size == 7"], ["matches none of the 4 runs"]),
        (["--domains", "pt,cpd"], ["No domain 'cpd'", "did you mean 'cpt'?"]),
        (["--domains", "pt,"], None),
        (["--plotto", "x.png"], ["--plotto"]),
    ],
)
def test_options_of_check(run: Run, tiny_folder: Path, options: list[str], words: list[str] | None):
    outcome = run("check", tiny_folder, *options)
    if words is None:
        assert outcome.code == 0
    else:
        assert_refused(outcome._replace(err=outcome.err.replace("The query", "the query")), *words)


def test_check_of_no_folder(run: Run):
    assert_refused(run("check", "nowhere"), "nowhere", "no such folder", "runs.csv")


@pytest.mark.parametrize("name", ["curves.txtt", "curves"])
def test_check_does_not_draw_what_matplotlib_cannot_write(run: Run, tiny_folder: Path, name: str):
    outcome = run("check", tiny_folder, "--plot", name)
    assert outcome.code == output.BAD_INPUT
    assert ".png" in outcome.err
    assert list(Path.cwd().iterdir()) == []


def test_a_figure_in_an_impossible_folder_is_refused(run: Run, tiny_folder: Path):
    outcome = run("check", tiny_folder, "--plot", tiny_folder / "runs.csv" / "check.png")
    assert outcome.code == output.BAD_INPUT
    assert "cannot write" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["forecast"], ["Missing argument"]),
        (["forekast"], ["forekast"]),
        (["fit", "nowhere"], ["no such folder"]),
        (["fit", "nowhere", "--draws", "many"], ["--draws", "integer"]),
        (["fit", "nowhere", "--chains", "1"], ["--chains"]),
        (["forecast", "nowhere.nc", "plan.toml"], ["no fit file at nowhere.nc", "bayes-cpt fit"]),
        (["forecast", "nowhere.nc", "plan.toml", "--every", "0"], ["--every"]),
        (["decide", "nowhere.nc", "plan.toml"], ["no fit file at nowhere.nc"]),
        (["decide", "nowhere.nc", "plan.toml", "--limit", "pt below 3"], ["pt below 3"]),
        (["decide", "nowhere.nc", "plan.toml", "--limit", "pt <= +0.05 @ 1.5"], ["1.5"]),
        (["decide", "nowhere.nc", "plan.toml", "--minimise", "0.5*"], ["0.5*"]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value, list) else None,
)
def test_bad_arguments(run: Run, arguments: list[str], words: list[str]):
    assert_refused(run(*arguments), *words)


@pytest.mark.parametrize("content", [b"not a fit", b"", b"CDF\x01 cut short", b"\x89HDF\r\n\x1a\n cut short"])
@pytest.mark.parametrize("command", ["forecast", "decide"])
def test_a_file_that_is_no_fit(run: Run, tmp_path: Path, command: str, content: bytes):
    path = tmp_path / "fit.nc"
    path.write_bytes(content)
    assert_refused(run(command, path, "plan.toml"), "fit.nc is not a NetCDF file")


@pytest.mark.parametrize("model", ["cpt-replai", "mine.toml"])
def test_fit_refuses_a_model_that_is_not_there(run: Run, tiny_folder: Path, model: str):
    assert_refused(run("fit", tiny_folder, "-m", model), model)


@pytest.mark.parametrize("command", ["fit", "backtest"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--prior", "betta ~ Normal(mu=0, sigma=1)"], ["[priors.betta]", "did you mean 'beta'?"]),
        (["--prior", "beta"], ["cannot read the prior 'beta'", "write it as"]),
        (["--annealed-to", "0.1"], ["law 'cpt-replay' reads the pre-training from the data", "-m open-checkpoint"]),
        (["-m", "open-checkpoint", "--annealed-to", "2"], ["between 0 and 1, not 2"]),
        (["-m", "open-checkpoint", "--pretrained", "2e12 at 3e-4"], ["cannot read '2e12 at 3e-4'"]),
    ],
)
def test_faulty_statements(run: Run, tiny_folder: Path, command: str, options: list[str], words: list[str]):
    assert_refused(run(command, tiny_folder, *options), *words)


@pytest.mark.parametrize("command", ["fit", "backtest"])
def test_stated_priors_reach_the_model(run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, command: str):
    class ReachedError(BayesCptError):
        """Raised when a model reaches the fit."""

    def instead(_curves: object, given: ModelSpec | list[ModelSpec], *_: object, **__: object) -> None:
        spec = given[0] if isinstance(given, list) else given
        raise ReachedError(f"beta has {spec.priors['beta'].arguments}, area {spec.priors['checkpoint_forward_area']}")

    monkeypatch.setattr(commands.bc, {"fit": "fit_average"}.get(command, command), instead, raising=False)
    outcome = run(
        command, tiny_folder, "-m", "open-checkpoint", "--prior", "beta ~ Normal(mu=0.5, sigma=0.01)",
        "--annealed-to", "10%", "--pretrained", "6400 tokens at 0.002",
    )  # fmt: skip
    assert outcome.code == output.BAD_INPUT
    assert "beta has {'mu': 0.5, 'sigma': 0.01}" in outcome.err
    assert all(word in outcome.out for word in ("prior of loss_potential: LogNormal(median=0.27", "100 steps of the"))


@pytest.mark.parametrize("command", [["backtest"], ["compare", "-m", "cpt", "-m", "cpt-replay"]])
def test_a_faulty_scheduler_is_refused(run: Run, tiny_folder: Path, command: list[str]):
    refused = run(*command, tiny_folder, "--scheduler", "10.0.0.1:8786")
    assert_refused(refused, "'10.0.0.1:8786' is no address of a Dask scheduler: write it as tcp://HOST:PORT")


def test_help_and_no_command(run: Run):
    shown, bare = run("--help"), run()
    assert (shown.code, shown.err) == (0, "")
    assert all(word in shown.out for word in ("check", "fit", "forecast", "decide", "demo"))
    assert (bare.code, bare.err) == (output.BAD_INPUT, "")
    assert "check" in bare.out


def test_an_interruption_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "selected_curves", interrupt)
    outcome = run("check", tiny_folder)
    assert (outcome.code, outcome.out) == (output.INTERRUPTED, "")
    assert "interrupted, nothing was written" in outcome.err
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(("converged", "code"), [(True, 0), (False, output.NOT_CONVERGED)])
def test_a_fit_that_did_not_converge_is_not_to_be_trusted(
    run: Run, monkeypatch: pytest.MonkeyPatch, converged: bool, code: int
):
    class Fitted(NamedTuple):
        converged: bool
        verdict: str = "the verdict"

    monkeypatch.setattr(commands.bc, "demo", lambda *_, **__: Fitted(converged), raising=False)
    outcome = run("demo")
    assert outcome.code == code
    assert ("the verdict" in outcome.err) == (not converged)


def test_the_help_of_commands_says_what_their_options_are_for(run: Run):
    words = {
        "fit": ["-m", "Model name", "Query over runs.csv", "Random seed"],
        "backtest": ["-m", "left out together", "Query over runs.csv"],
        "forecast": ["File that", "TOML grid"],
    }
    for command, expected in words.items():
        said = " ".join(run(command, "--help").out.split())
        assert all(word in said for word in expected), said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare", "DATA"], ["two models or more"]),
        (["compare", "DATA", "-m", "cpt-replay"], ["two models or more"]),
        (["compare", "nowhere", "-m", "cpt", "-m", "cpt-replay"], ["no such folder"]),
        (["compare", "DATA", "-m", "cpt-replay", "-m", "cpt-replai"], ["unknown model 'cpt-replai'", "did you mean"]),
        (["compare", "DATA", "-m", "cpt-replay", "-m", "cpt-replay"], ["'cpt-replay' is given twice"]),
        (["compare", "DATA", "-m", "cpt-replay", "-m", "annealing"], ["pre-training alone"]),
        (["compare", "DATA", "-m", "cpt-replay", "-m", "cpt"], ["has no replay"]),
        (["compare", "DATA", "-m", "cpt", "-m", "cpt-replay", "--refits", "-1"], ["--refits"]),
        (["fit", "DATA", "-m", "cpt-replay", "-m", "cpt-replay"], ["'cpt-replay' is given twice"]),
        (["fit", "DATA", "-m", "cpt-replay", "-m", "annealing"], ["pre-training alone"]),
        (["fit", "DATA", "--weights", "nowhere.csv"], ["nowhere.csv", "cannot be read"]),
        (["fit", "DATA", "--weights", "DATA/runs.csv"], ["not a table of bayes-cpt compare", "model, weight missing"]),
        (["fit", "DATA", "--weights", "DATA/weights.csv"], ["sum to 1", "cpt-replay 0.4"]),
        (["fit", "DATA", "-m", "annealing", "--weights", "DATA/weights.csv"], ["no weight for model 'annealing'"]),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value, list) else None,
)
def test_models_that_cannot_be_compared_or_averaged(
    run: Run, tiny_folder: Path, arguments: list[str], words: list[str]
):
    (tiny_folder / "weights.csv").write_text("model,weight\ncpt-replay,0.4\ncpt,0.6\n")
    assert_refused(run(*(argument.replace("DATA", str(tiny_folder)) for argument in arguments)), *words)


@pytest.mark.parametrize(("folds", "code"), [(2, 0), (3, output.INTERRUPTED)])
def test_a_comparison_is_written_drawn_and_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, folds: int, code: int
):
    found = comparison_of({"cpt": (1.0, 5.0), "cpt-replay": (2.0, 2.0)}, folds)
    monkeypatch.setattr(commands.bc, "compare", lambda *_, **__: found, raising=False)
    outcome = run("compare", tiny_folder, "-m", "cpt", "-m", "cpt-replay", "--plot", "compare.png")
    assert outcome.code == code
    assert ("interrupted after 2 of 3 folds; repeat the command with --resume" in outcome.err) == (folds == 3)
    assert "elpd is rough, since few draws" in outcome.out
    assert bc.read_weights("compare.csv") == pytest.approx(found.weights)
    assert Path("compare.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("verbose", [False, True])
def test_a_fit_is_printed_in_words_and_its_table_if_asked(
    run: Run, monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, verbose: bool
):
    fit = drawn_from_prior("cpt-replay")
    monkeypatch.setattr(commands.bc, "fit_average", lambda *_, **__: bc.Average((fit,), (1.0,)), raising=False)
    monkeypatch.setattr(commands.bc, "predictive_check", lambda fit, **_: (fit, "the check"), raising=False)
    monkeypatch.setattr(commands.bc, "save", lambda *_: None, raising=False)
    outcome = run("fit", tiny_folder, "-o", "mine.nc", *(["--verbose"] if verbose else []))
    assert (outcome.code, outcome.err) == (0, "")
    assert (
        ("ess_bulk" in outcome.out) == ("annealing_drop[pt]" in outcome.out) == ("the check" in outcome.out) == verbose
    )
    assert bc.in_words(fit) in outcome.out
    assert f"bayes-cpt forecast mine.nc PLAN; bayes-cpt backtest {tiny_folder}, with" in outcome.out.splitlines()[-1]
    assert verbose or len(outcome.out.splitlines()) <= 12


@pytest.mark.slow
def test_an_average_is_fitted_into_one_file_that_forecast_and_decide_read(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fitted: bc.Fit, higher: bc.Fit
):
    bc.write_curves(fitted.curves, tmp_path / "data")
    (tmp_path / "weights.csv").write_text("model,weight\nhigher,0.25\ncpt,0.75\n")
    schedule = 'kind = "constant"\npeak = 1e-3\nsteps = 500'
    (tmp_path / "plan.toml").write_text(f'parent = "pt"\nreplay = 0.0\n[schedule]\n{schedule}\n')

    (tmp_path / "higher.toml").write_text(bc.read_spec("cpt").text)

    def fit_average(_curves: bc.Curves, laws: list[ModelSpec], weights: dict[str, float], **_: object) -> bc.Average:
        assert [spec.name for spec in laws] == ["cpt", "higher"]
        return bc.average([fitted, higher], weights)

    monkeypatch.setattr(commands.bc, "fit_average", fit_average, raising=False)
    made = run(
        "fit", tmp_path / "data", "-m", "cpt", "-m", tmp_path / "higher.toml", "--weights", tmp_path / "weights.csv"
    )
    assert "Weight 0.750. cpt: " in made.out
    assert "Weight 0.250. higher: " in made.out
    for command in ("forecast", "decide"):
        options = ("--minimise", "pt") if command == "decide" else ("--plot", "forecast.png")
        assert run(command, "fit.nc", tmp_path / "plan.toml", *options).code == made.code
    rows = pd.read_csv("forecast.csv").query("step == 500").to_dict("records")
    assert rows[0]["q50"] < 6 < rows[0]["q95"]


def test_the_version_is_shown(run: Run):
    outcome = run("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.strip() == f"bayes-cpt {version('bayes-cpt')}"
