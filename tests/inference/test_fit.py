"""Fitting, its diagnosis, and the fit file: it holds all a forecast needs, or is refused with a sentence."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import FEW

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.cli.output import INTERRUPTED
from bayes_cpt.errors import FitFileError
from bayes_cpt.inference import sampling
from bayes_cpt.inference.diagnostics import diagnose
from bayes_cpt.runs.curve_folder import digest

PLANNED = bc.plan(parent="pt", replay=0.0, schedule=bc.cosine(peak=1e-3, steps=2000, warmup=100))


@pytest.fixture(scope="module")
def fit_file(fitted: bc.Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fits") / "fit.nc"
    bc.save(fitted, path)
    return path


@pytest.mark.slow
def test_the_same_seed_gives_the_same_draws(fitted: bc.Fit, simulated: bc.Curves):
    again = bc.fit(simulated, "cpt", domains=["pt"], **asdict(FEW))
    xr.testing.assert_equal(again.posterior, fitted.posterior)


@pytest.mark.slow
def test_a_saved_fit_is_read_back_whole(fitted: bc.Fit, fit_file: Path):
    loaded = bc.load(fit_file)
    assert set(loaded.tree.children) == set(fitted.tree.children)
    for group in fitted.tree.children:
        xr.testing.assert_equal(loaded.tree[group].to_dataset(), fitted.tree[group].to_dataset())
    assert (loaded.domains, loaded.converged, loaded.verdict) == (fitted.domains, fitted.converged, fitted.verdict)
    pd.testing.assert_frame_equal(
        bc.table(bc.forecast(loaded, PLANNED)), bc.table(bc.forecast(fitted, PLANNED)), check_exact=True
    )


@pytest.mark.slow
def test_a_fit_file_says_how_it_was_made(fit_file: Path, simulated: bc.Curves):
    attributes = bc.load(fit_file).tree.attrs
    assert attributes["law"] == "cpt"
    assert attributes["seed"] == 1
    assert attributes["data_digest"] == digest(simulated)
    assert all(f'"{name}"' in attributes["versions"] for name in ("bayes-cpt", "pymc", "nutpie"))
    assert "R-hat" in attributes["verdict"]


@pytest.mark.slow
def test_a_loaded_fit_can_be_saved_again(fit_file: Path, tmp_path: Path):
    bc.save(bc.load(fit_file), tmp_path / "again.nc")
    assert bc.load(tmp_path / "again.nc").tree.identical(bc.load(fit_file).tree)


@pytest.mark.slow
def test_arviz_reads_a_fit(fitted: bc.Fit):
    table = pd.DataFrame(az.summary(fitted.tree, var_names=["memory", "alpha"]))
    assert list(table.index) == ["memory[pt]", "alpha[pt]"]


def write_text(path: Path) -> None:
    path.write_text("run,step\npt,1\n")


def write_foreign(path: Path) -> None:
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(path, engine="netcdf4")


def write_posterior_alone(path: Path) -> None:
    az.from_dict({"posterior": {"x": np.zeros((2, 5))}}).to_netcdf(path, engine="netcdf4")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda _: None, "no fit file"),
        (lambda path: path.mkdir(), "no fit file"),
        (lambda path: path.touch(), "is not a NetCDF file"),
        (write_text, "is not a NetCDF file"),
        (write_foreign, "was not written by bayes-cpt fit"),
        (write_posterior_alone, "was not written by bayes-cpt fit"),
    ],
    ids=["missing", "folder", "empty", "text", "foreign", "posterior-alone"],
)
def test_a_file_that_is_no_fit_is_refused(write: Callable[[Path], Any], words: str, tmp_path: Path):
    path = tmp_path / "other.nc"
    write(path)
    with pytest.raises(FitFileError, match=words) as caught:
        bc.load(path)
    assert str(path) in str(caught.value)


def truncated(*arguments: Any, draws: int, chains: int, **options: Any) -> xr.DataTree:
    """Stand in for nutpie after Ctrl-C: it returns the draws so far."""
    return az.from_dict({"posterior": {"z": np.zeros((chains, draws // 3, 4))}})


def stopped(*arguments: Any, **options: Any) -> xr.DataTree:
    raise KeyboardInterrupt


@pytest.fixture
def output(simulated: bc.Curves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Prepare ``bayes-cpt fit``, without the search of the mode, and return the path it shall write."""

    def no_search(density: sampling.Density, seed: int) -> sampling.Whitening:
        return sampling.Whitening(density.start.data, np.eye(density.start.data.size))

    bc.write_curves(simulated, tmp_path / "data")
    path = tmp_path / "out" / "fit.nc"
    path.parent.mkdir()
    monkeypatch.setattr(sampling, "whiten", no_search)
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", "fit", str(tmp_path / "data"), "-m", "cpt", "-o", str(path)])
    return path


@pytest.mark.parametrize("sample", [truncated, stopped])
@pytest.mark.parametrize("before", [{}, {"fit.nc": b"an earlier fit"}], ids=["new", "again"])
def test_an_interrupted_fit_writes_nothing(
    sample: Callable[..., xr.DataTree],
    before: dict[str, bytes],
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    for name, content in before.items():
        (output.parent / name).write_bytes(content)
    monkeypatch.setattr(sampling.nutpie, "sample", sample)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in output.parent.iterdir()} == before


def chains(*shifts: float, count: int = 500, diverging: int = 0) -> xr.DataTree:
    """Make up chains of independent normal draws, and some divergences in each."""
    random = np.random.default_rng(1)
    draws = np.array([shift + random.standard_normal(count) for shift in shifts])
    divergent = np.tile(np.arange(count) < diverging, (len(shifts), 1))
    return az.from_dict({"posterior": {"alpha": draws}, "sample_stats": {"diverging": divergent}})


def test_chains_that_agree_have_converged():
    converged, verdict = diagnose(chains(0, 0))
    assert converged
    assert verdict.startswith("converged")


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (chains(0, 3), "chains disagree on alpha"),
        (chains(0, 0, count=60), "too few effective draws of alpha"),
        (chains(0, 0, diverging=20), "the sampler diverged"),
    ],
    ids=["disagree", "few", "diverged"],
)
def test_chains_that_cannot_be_trusted_are_called_so(tree: xr.DataTree, fault: str):
    converged, verdict = diagnose(tree)
    assert not converged
    assert verdict.startswith("NOT CONVERGED")
    assert fault in verdict
