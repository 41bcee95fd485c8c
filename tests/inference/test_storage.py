"""The fit file: it has all that a forecast needs, or is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayes_cpt as bc
from bayes_cpt.errors import FitFileError
from bayes_cpt.runs.curve_folder import digest

PLANNED = bc.plan(parent="pt", replay=0.0, schedule=bc.cosine(peak=1e-3, steps=2000, warmup=100))


@pytest.fixture(scope="module")
def fit_file(fitted: bc.Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fits") / "fit.nc"
    bc.save(fitted, path)
    return path


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
    assert all(f'"{name}"' in attributes["versions"] for name in ("bayes-cpt", "jax", "numpy"))
    assert "R-hat" in attributes["verdict"]


@pytest.mark.slow
def test_a_loaded_fit_can_be_saved_again(fit_file: Path, tmp_path: Path):
    bc.save(bc.load(fit_file), tmp_path / "again.nc")
    assert bc.load(tmp_path / "again.nc").tree.identical(bc.load(fit_file).tree)


SAVED = Path(__file__).parents[1] / "data" / "posterior.nc"


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


def altered(tmp_path: Path, **attributes: Any) -> Path:
    """Return a copy of the saved posterior with other attributes."""
    path = tmp_path / "altered.nc"
    with xr.open_datatree(SAVED, engine="netcdf4") as opened:
        tree = opened.load()
    tree.attrs |= attributes
    tree.to_netcdf(path, engine="netcdf4")
    return path


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"format": 1}, "has format 1, and this bayes_cpt reads format 2"),
        ({"format": 3}, "has format 3, and this bayes_cpt reads format 2"),
        ({"law_fingerprint": "[1.0, 2.0]"}, "another definition of law 'cpt-replay-eq4'"),
        ({"model_text": 'law = "of-my-own"'}, "register laws and components of your own before you load it"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(attributes: dict[str, Any], words: str, tmp_path: Path):
    path = altered(tmp_path, **attributes)
    with pytest.raises(FitFileError, match=words) as caught:
        bc.load(path)
    assert str(path) in str(caught.value)


def test_a_law_of_a_slightly_changed_definition_is_refused(tmp_path: Path):
    with xr.open_datatree(SAVED, engine="netcdf4") as opened:
        fingerprint = json.loads(opened.attrs["law_fingerprint"])
    assert isinstance(bc.load(altered(tmp_path, law_fingerprint=json.dumps(fingerprint))), bc.Fit)
    fingerprint[-1] *= 1 + 1e-6
    with pytest.raises(FitFileError, match="another definition"):
        bc.load(altered(tmp_path, law_fingerprint=json.dumps(fingerprint)))
