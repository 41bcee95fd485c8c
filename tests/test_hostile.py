"""Whatever a user or a file gives: one sentence and exit code 2, nothing run, nothing half-written, no traceback."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import mostly_slow

import bayes_cpt as bc
from bayes_cpt.cli.main import main
from bayes_cpt.errors import CurvesError, DataError, FitFileError, SpecError

MICROCPT = Path(__file__).parents[1] / "data" / "microcpt"
LARGER = ("backtest", MICROCPT, "--where", "model_size == 332448")
SAVED = Path(__file__).parent / "data" / "posterior.nc"
PLAN = 'parent = "pt_wsd000"\nreplay = [0.0, 0.5]\n[schedule]\nkind = "wsd"\npeak = 1e-3\nsteps = 1000\nwarmup = 50\n'
MANY_DIGITS = "9" * 5000


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """Run a command that must be refused, and return what it says."""
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "Traceback" not in said
    assert len(said) < 5000
    return said


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("steps = 1000", "steps = 1000000000000", "at most 20,000,000"),
        ("steps = 1000", f"steps = {'9' * 400}", "at most 20,000,000"),
        ("steps = 1000", f"steps = {MANY_DIGITS}", "cannot be read as TOML"),
        ("steps = 1000", f"steps = {'[' * 5000}{']' * 5000}", "nested too deeply"),
        ("peak = 1e-3", "peak = 1e308", "at most 1,000"),
        ("peak = 1e-3", "peak = 0.0", "a number above 0"),
        ("replay = [0.0, 0.5]", f"replay = {'9' * 400}", "a share from 0 to 1"),
        (
            "replay = [0.0, 0.5]",
            f"replay = {[i / 1000 for i in range(1000)]}\nparent_step = {[*range(200)]}",
            "has 200,000 runs",
        ),
        ("steps = 1000", f"steps = {[10_000_000 + i for i in range(20)]}", "steps in all"),
    ],
)
def test_a_plan_that_is_too_much_is_refused_before_memory_is_asked_for(before: str, after: str, words: str, plan: Path):
    plan.write_text(PLAN.replace(before, after))
    with pytest.raises(CurvesError, match=words):
        bc.read_plan(plan)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("step", MANY_DIGITS, "an integer from 1"),
        ("lr", "1e308", "at most 1000"),
    ],
)
def test_a_schedule_that_is_too_much_is_refused(tiny_folder: Path, column: str, value: str, words: str):
    path = tiny_folder / "lr.csv"
    header, *rows = path.read_text().splitlines()
    cells = rows[-1].split(",")
    cells[header.split(",").index(column)] = value
    path.write_text("\n".join([header, *rows[:-1], ",".join(cells)]))
    with pytest.raises(CurvesError, match=words):
        bc.read_curves(tiny_folder)


def test_a_run_of_a_billion_steps_is_refused_before_memory_is_asked_for(tiny_folder: Path):
    path = tiny_folder / "lr.csv"
    *rows, last = path.read_text().splitlines()
    run, _step, rate = last.split(",")
    path.write_text("\n".join([*rows, last, f"{run},1000000000,{rate}"]))
    with pytest.raises(DataError, match="are these tokens"):
        bc.read_curves(tiny_folder).learning_rate(run)


@pytest.mark.parametrize("column", ["self", "index", "columns", "my note", "{}", "$x$"])
def test_a_further_column_may_have_any_name(tiny_folder: Path, column: str):
    path = tiny_folder / "runs.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},{column}", *(f"{row},{place}" for place, row in enumerate(rows))]))
    curves = bc.read_curves(tiny_folder)
    assert curves.runs[column].tolist() == list(range(len(rows)))
    assert list(bc.select(curves, f"`{column}` == 0").runs.index) == [curves.runs.index[0]]


@pytest.mark.parametrize("name", ["runs", "lr", "losses"])
def test_a_table_with_nothing_but_a_header_is_refused(tiny_folder: Path, name: str):
    path = tiny_folder / f"{name}.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(CurvesError, match="has no rows"):
        bc.read_curves(tiny_folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b'extends = "mine.toml"', "must name a shipped model"),
        (b'extends = "cpt"\nwithout = [1, 2]', "a list of parameters in quotes"),
        (b'extends = "cpt"\nwithout = 3', "a list of parameters in quotes"),
        (b"law = 3", "unknown law '3'"),
        (b"a = " + b"[" * 9000, "not TOML"),
        (b'extends = "cpt"\n[priors.beta]\nmu = ' + MANY_DIGITS.encode(), "not TOML"),
        (
            b'extends = "cpt"\n[priors.beta]\ndistribution = "Uniform"\nlower = 1\nupper = 0\nreason = "x"',
            "not below the upper",
        ),
    ],
)
def test_a_model_file_with_a_fault_is_refused(tmp_path: Path, text: bytes, words: str):
    path = tmp_path / "mine.toml"
    path.write_bytes(text)
    with pytest.raises(SpecError, match=words):
        bc.read_spec(path)


def test_a_model_file_of_an_impossible_name_is_refused():
    with pytest.raises(SpecError, match="no model file"):
        bc.read_spec("x" * 5000 + ".toml")


# Fit files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved() -> xr.DataTree:
    with xr.open_datatree(SAVED, engine="netcdf4") as opened:
        return opened.load()


@pytest.mark.parametrize(
    "attribute",
    ["model_text", "law_fingerprint", "fitted_range", "domains", "runs", "losses", "format", "converged", "findings"],
)
@pytest.mark.parametrize("value", mostly_slow(["", "x", "null", "[" * 5000], "null"))
def test_a_fit_file_with_a_damaged_attribute_is_refused(saved: xr.DataTree, tmp_path: Path, attribute: str, value: str):
    tree = saved.copy()
    tree.attrs = {**saved.attrs, attribute: value}
    tree.to_netcdf(tmp_path / "fit.nc", engine="netcdf4")
    with pytest.raises(FitFileError, match=r"fit\.nc"):
        bc.load(tmp_path / "fit.nc")


@pytest.mark.parametrize("name", ["memory", "shift_speed", "effect_smooth"])
@pytest.mark.parametrize("fault", ["gone", "not finite", "without chains"])
def test_a_fit_file_with_damaged_draws_is_refused(saved: xr.DataTree, tmp_path: Path, name: str, fault: str):
    posterior = saved["posterior"].to_dataset()
    changed = {
        "gone": lambda: posterior.drop_vars(name),
        "not finite": lambda: posterior.assign({name: posterior[name] * np.inf}),
        "without chains": lambda: posterior.isel(chain=0, drop=True),
    }[fault]()
    tree = saved.copy()
    tree["posterior"] = xr.DataTree(changed)
    tree.to_netcdf(tmp_path / "fit.nc", engine="netcdf4")
    with pytest.raises(FitFileError, match=r"fit\.nc is damaged"):
        bc.load(tmp_path / "fit.nc")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_draws_that_give_no_finite_loss_are_refused(
    saved: xr.DataTree, plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    posterior = saved["posterior"].to_dataset()
    tree = saved.copy()
    tree["posterior"] = xr.DataTree(posterior.assign(alpha=0 * posterior["alpha"] + 1e300))
    fit = plan.with_name("fit.nc")
    tree.to_netcdf(fit, engine="netcdf4")
    for command in ("forecast", "decide"):
        output = plan.with_name("out.csv")
        assert "is not a finite number" in refusal(capsys, monkeypatch, command, fit, plan, "-o", output)
        assert not output.exists()


@pytest.mark.parametrize("size", [0, 100, 200_000])
def test_a_cut_fit_file_is_refused(tmp_path: Path, size: int):
    path = tmp_path / "fit.nc"
    path.write_bytes(SAVED.read_bytes()[:size])
    with pytest.raises(FitFileError, match="not a NetCDF file"):
        bc.load(path)


NAMES = ["null", "None", "nan", "NA", "007", "1e5", "a\nb", "a/b", "$x$", "[bold]", "é😀", "'", '"', "a,b", "-", "{}"]


@pytest.mark.parametrize("name", mostly_slow(NAMES, "null", "007", "a/b", "$x$", "é😀"))
def test_names_of_runs_go_through_a_fit_file_and_a_folder(tmp_path: Path, name: str):
    fit = bc.load(SAVED)
    old = str(fit.curves.runs.index[-1])
    curves = bc.Curves(
        fit.curves.runs.rename(index={old: name}),
        fit.curves.lr.replace({"run": {old: name}}),
        fit.curves.losses.replace({"run": {old: name}}),
    )
    bc.save(bc.Fit(fit.tree, fit.spec, curves, fit.models), tmp_path / "fit.nc")
    again = bc.load(tmp_path / "fit.nc").curves
    assert list(again.runs.index) == list(curves.runs.index)
    bc.write_curves(curves, tmp_path / "curves")
    assert list(bc.read_curves(tmp_path / "curves").runs.index) == list(curves.runs.index)


@pytest.mark.parametrize("option", ["--domains", "--sampler", "--where"])
def test_an_option_of_any_length_is_refused_in_few_words(
    option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert len(refusal(capsys, monkeypatch, "fit", MICROCPT, option, "x" * 100_000)) < 1_500


@pytest.mark.parametrize("leave", ["run", "tail"])
@pytest.mark.parametrize("cut", ["-1", "2", "nan"])
def test_a_share_out_of_range_is_refused_whatever_is_left_out(
    leave: str, cut: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    said = refusal(capsys, monkeypatch, *LARGER, "--leave", leave, "--cut", cut)
    assert "between 0 and 1" in said


# What is written -----------------------------------------------------------------------------------------------------


def test_only_a_regular_file_is_replaced(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "link.csv").symlink_to(tmp_path / "target.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    fit = tmp_path / "fit.nc"
    shutil.copy(SAVED, fit)
    for output, words in {
        "link.csv": "it is a link",
        "pipe.csv": "no regular file",
        "folder.csv": "it is a folder",
        "x" * 300 + ".csv": "File name too long",
        "fit.nc": "an input or another output",
        "plan.toml": "an input or another output",
    }.items():
        assert words in refusal(capsys, monkeypatch, "forecast", fit, plan, "-o", tmp_path / output)
    assert "no regular file" in refusal(capsys, monkeypatch, "forecast", fit, plan, "-o", "/dev/null")
    assert plan.read_text() == PLAN
    assert fit.read_bytes() == SAVED.read_bytes()
    assert (tmp_path / "link.csv").is_symlink()


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999", "x"])
def test_a_seed_out_of_range_is_refused(
    seed: str, plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert "--seed" in refusal(capsys, monkeypatch, "forecast", SAVED, plan, "--seed", seed)


def test_the_unexpected_is_one_sentence(
    plan: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def broken(_path: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bc, "load", broken, raising=False)
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", "forecast", str(SAVED), str(plan)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 70
    assert "run again with --debug to see where" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", "--debug", "forecast", str(SAVED), str(plan)])
    with pytest.raises(ZeroDivisionError):
        main()


WRITER = """
import sys
from pathlib import Path
from bayes_cpt._support.files import replacing
content = sys.argv[2] * 5_000_000
print("ready", flush=True)
for _ in range(1000):
    with replacing(sys.argv[1]) as temporary:
        temporary.write_text(content)
"""


@pytest.mark.slow
def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path):
    path, draw = tmp_path / "table.csv", random.Random(1)
    for letter in "abcde":
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05 + draw.uniform(0, 0.2))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        if path.exists():
            text = path.read_text()
            assert len(text) == 5_000_000
            assert len(set(text)) == 1
