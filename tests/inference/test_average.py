"""Averages of laws: whole curves in proportion to the weights, one file, and weights that are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import bayes_cpt as bc
from bayes_cpt.errors import DataError, FitFileError
from bayes_cpt.inference.average import Average, chosen_weights

PLANNED = bc.plan(parent="pt", replay=0.0, schedule=bc.wsd(peak=2e-3, steps=[2000, 6000], warmup=100))


def final(draws: xr.Dataset) -> np.ndarray:
    return draws["loss"].sel(run="pt_r000_steps6000", domain="pt", step=6000).to_numpy().ravel()


@pytest.mark.slow
@pytest.mark.parametrize("alone", [0, 1])
def test_a_law_of_weight_1_forecasts_as_if_alone(alone: int, fitted: bc.Fit, higher: bc.Fit):
    both = (fitted, higher)
    draws = bc.forecast(bc.average(both, np.eye(2)[alone].tolist()), PLANNED, every=1000)
    by_itself = bc.forecast(both[alone], PLANNED, every=1000)
    assert draws.sizes["chain"] == 1
    assert bc.table(draws).equals(bc.table(by_itself))
    xr.testing.assert_identical(draws["learning_rate"], by_itself["learning_rate"])


@pytest.mark.slow
def test_draws_come_from_each_law_in_proportion_and_as_whole_paths(fitted: bc.Fit, higher: bc.Fit):
    draws = bc.forecast(bc.average([fitted, higher], {"higher": 0.3, "cpt": 0.7}), PLANNED, every=500, draws=200)
    late = draws["loss"].sel(domain="pt").where(draws["step"] >= 2000, drop=True)  # the start is the checkpoint's
    is_high = late > 6
    assert draws.sizes["draw"] == 200
    assert int(is_high.sel(run="pt_r000_steps6000", step=6000).sum()) == 60
    of_long = is_high.sel(run="pt_r000_steps6000")
    assert (of_long == of_long.sel(step=6000)).all()  # no path changes its law on the way
    assert (is_high.sel(step=2000) == of_long.sel(step=6000)).all()  # nor between runs
    q05, q95 = np.quantile(final(draws), [0.05, 0.95])
    assert q05 < 6 < q95


@pytest.mark.slow
def test_a_forecast_by_an_average_can_be_used_like_any_other(fitted: bc.Fit, higher: bc.Fit):
    average = bc.average([fitted, higher])
    draws = bc.forecast(average, PLANNED, every=1000)
    assert bc.decide(draws, minimise={"pt": 1.0}).chosen
    assert len(bc.plot_forecast(draws, average.curves).axes) == 4
    assert (average.domains, average.weights) == (("pt",), (0.5, 0.5))


@pytest.mark.slow
def test_an_average_has_converged_if_every_law_with_weight_has(fitted: bc.Fit, higher: bc.Fit):
    def said(fit: bc.Fit, converged: bool, verdict: str) -> bc.Fit:
        tree = fit.tree.copy()
        tree.attrs = {**fit.tree.attrs, "converged": int(converged), "verdict": verdict}
        return replace(fit, tree=tree)

    good, bad = said(fitted, True, "fine"), said(higher, False, "doubtful")
    half = bc.average([good, bad])
    assert not half.converged
    assert half.verdict == "higher: doubtful"
    assert bc.forecast(half, PLANNED, every=2000).attrs["warning"] == "higher: doubtful"
    unused = bc.average([good, bad], [1, 0])
    assert (unused.converged, unused.verdict) == (True, "cpt: fine")


@pytest.mark.slow
def test_an_average_is_saved_in_one_file_and_read_back_the_same(fitted: bc.Fit, higher: bc.Fit, tmp_path: Path):
    path = tmp_path / "fit.nc"
    average = bc.average([fitted, higher], [0.25, 0.75])
    bc.save(average, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["fit.nc"]
    loaded = bc.load(path)
    assert isinstance(loaded, Average)
    assert loaded.weights == (0.25, 0.75)
    xr.testing.assert_identical(bc.forecast(loaded, PLANNED, every=1000), bc.forecast(average, PLANNED, every=1000))
    for before, after in zip(average.fits, loaded.fits, strict=True):
        xr.testing.assert_identical(after.posterior, before.posterior)
        assert after.spec.text == before.spec.text
    bc.save(loaded, path)
    again = bc.load(path)
    assert isinstance(again, Average)
    assert all(one.tree.identical(other.tree) for one, other in zip(again.fits, loaded.fits, strict=True))


@pytest.mark.slow
def test_a_damaged_file_of_an_average_is_refused(fitted: bc.Fit, higher: bc.Fit, tmp_path: Path):
    bc.save(bc.average([fitted, higher]), tmp_path / "fit.nc")
    with xr.open_datatree(tmp_path / "fit.nc", engine="netcdf4") as opened:
        tree = opened.load()
    damaged = tree.copy()
    del damaged["law_1"]
    damaged.to_netcdf(tmp_path / "damaged.nc", engine="netcdf4")
    with pytest.raises(FitFileError, match="it lacks law_1"):
        bc.load(tmp_path / "damaged.nc")


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_cpt")
def test_models_are_fitted_and_averaged_by_weights_given_by_name(simulated: bc.Curves, tmp_path: Path):
    other = tmp_path / "other.toml"
    other.write_text(bc.read_spec("cpt").text)
    weights = {"other": 0.3, "cpt": 0.7}
    average = bc.fit_average(
        simulated, ["cpt", other], weights, domains=["pt"], draws=50, tune=50, seed=1, progress=False
    )
    assert [fit.spec.name for fit in average.fits] == ["cpt", "other"]
    assert average.weights == (0.7, 0.3)


@pytest.mark.slow
def test_fits_that_cannot_be_averaged_are_refused(fitted: bc.Fit, higher: bc.Fit):
    with pytest.raises(DataError, match="'cpt' is given twice"):
        bc.average([fitted, fitted])
    with pytest.raises(DataError, match="3 weights were given for 2 models"):
        bc.average([fitted, higher], [0.2, 0.3, 0.5])
    elsewhere = higher.tree.copy()
    elsewhere.attrs = {**higher.tree.attrs, "data_digest": "other"}
    with pytest.raises(DataError, match="different curves"):
        bc.average([fitted, replace(higher, tree=elsewhere)])


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 1.0}, "no weight for model 'b'"),
        ({"a": 0.6, "b": 0.6}, "sum to 1"),
        ({"a": 0.4, "b": 0.4, "c": 0.2}, "sum to 1"),
        ({"a": 1.5, "b": -0.5}, "0 or more"),
        ({"a": float("nan"), "b": 1.0}, "0 or more"),
    ],
)
def test_weights_that_do_not_sum_to_1_are_refused(weights: dict[str, float], words: str):
    with pytest.raises(DataError, match=words):
        chosen_weights(["a", "b"], weights)


def test_weights_are_equal_unless_given_and_rounded_ones_are_made_to_sum_to_1():
    assert chosen_weights(["a", "b"], None) == (0.5, 0.5)
    assert sum(chosen_weights(["a", "b", "c"], dict.fromkeys("abc", 0.3333))) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "cannot be read"),
        ("model,mass\ncpt,1\n", "not a table of bayes-cpt compare: weight missing"),
        ("model,weight\n", "rows missing"),
        ("model,weight\ncpt,much\n", "a number as its weight"),
        ("model,weight\ncpt,0.5\ncpt,0.5\n", "each once"),
    ],
)
def test_a_file_of_weights_with_a_fault_is_refused(content: str | None, words: str, tmp_path: Path):
    path = tmp_path / "compare.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words) as caught:
        bc.read_weights(path)
    assert str(path) in str(caught.value)
