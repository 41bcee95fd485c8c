"""Scales learnt from left-out runs: they follow the residuals, and forecasts with them cover new runs."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import scheduled

import bayes_cpt as bc
from bayes_cpt.cli.left_out import learnt as learnt_or_not
from bayes_cpt.errors import DataError, FitFileError, SamplingError
from bayes_cpt.evaluation.left_out_scales import (
    CANDIDATES,
    LeftOut,
    Scales,
    _coverage,
    suited,
    what_left_out_runs_show,
    why_not,
)
from bayes_cpt.forecasting.forecast import STRETCH
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate

POINTS = 30
NOISE = 0.003


def left_out(size: float, seed: int, noise: float = NOISE) -> LeftOut:
    """Return a run that departs by a normal effect of a size, on a column that grows over the run."""
    random = np.random.default_rng(seed)
    column = np.linspace(0.1, 1, POINTS)
    residual = size * random.standard_normal() * column + noise * random.standard_normal(POINTS)
    return LeftOut("run", "pt", residual, np.full(POINTS, NOISE**2), {"shift": column**2})


def prior(median: float = 0.03, sigma: float = 0.6) -> Mapping[str, np.ndarray]:
    return {"shift": median * np.exp(sigma * np.random.default_rng(0).standard_normal(CANDIDATES))}


def learnt(size: float, count: int = 12, seed: int = 0, noise: float = NOISE) -> tuple[list[LeftOut], Scales]:
    runs = [left_out(size, 100 * seed + place, noise) for place in range(count)]
    return runs, suited(prior(), np.ones(CANDIDATES), runs)


def median_scale(scales: Scales) -> float:
    order = np.argsort(scales.scale["shift"])
    at = np.searchsorted(np.cumsum(scales.weights()[order]), 0.5)
    return float(scales.scale["shift"][order][at])


@pytest.mark.parametrize("size", [0.005, 0.03, 0.15])
def test_the_scale_moves_from_its_prior_to_what_left_out_runs_show(size: float):
    found = np.mean([np.log(median_scale(learnt(size, seed=seed)[1])) for seed in range(8)])
    assert abs(found - np.log(size)) < 0.6
    assert (found > np.log(0.03)) == (size > 0.03) or size == 0.03


def test_few_runs_leave_the_prior_nearly_as_it_is():
    few, many = (median_scale(learnt(0.15, count)[1]) for count in (1, 12))
    assert 0.02 < few < many


def test_one_odd_run_does_not_decide():
    runs, _scales = learnt(0.01)
    odd = left_out(0.01, 1)._replace(residual=np.full(POINTS, 0.5))
    assert median_scale(suited(prior(), np.ones(CANDIDATES), [*runs, odd])) < 0.03


def test_cross_validated_intervals_cover_their_share():
    covers = np.mean(
        [
            _coverage(*learnt(0.08, seed=seed))[["cover90_before", "cover90_after", "cover50_after"]].mean()
            for seed in range(6)
        ],
        axis=0,
    )
    assert covers[0] < 0.8
    assert covers[1] == pytest.approx(0.9, abs=0.07)
    assert covers[2] == pytest.approx(0.5, abs=0.12)


def test_a_factor_of_the_width_is_used_where_it_helps_held_out_runs():
    """The noise is three times what the forecast has: no scale of an effect can mend the points near the start."""
    factor = np.exp(0.3 * np.random.default_rng(1).standard_normal(CANDIDATES))
    gains = []
    for noise in (3 * NOISE, NOISE):
        runs, plain = learnt(0.03, noise=noise)
        gains.append(suited(prior(), factor, runs).held_out - plain.held_out)
    assert gains[0] > 0 > gains[1]


@pytest.fixture(scope="module")
def fitted() -> bc.Fit:
    """Return a fit of five pre-training runs, each of which can be left out."""
    schedules = [bc.wsd(peak=2e-3, steps=1500, warmup=100, decay=decay) for decay in (0.1, 0.2, 0.4, 0.6, 0.8)]
    names = [f"run{place}" for place in range(len(schedules))]
    lr = pd.concat([scheduled(name, schedule) for name, schedule in zip(names, schedules, strict=True)])
    runs = pd.DataFrame({"run": names, "phase": "pt"}).assign(parent=None, parent_step=None, replay=None)
    own = {name: KNOWLEDGE_PILE["pt"][name] for name in ("L0", "A", "alpha")} | {"C": KNOWLEDGE_PILE["pt"]["C1"]}
    options = {"memory": 100.0, "noise": 0.003, "every": 60, "seed": 1, "kernel": {"forward_power": 0.5}}
    curves = simulate(bc.curves_from_frames(runs, lr), "annealing-eq1", {"pt": own}, **options)
    return bc.fit(curves, "annealing", draws=400, progress=False)


@pytest.fixture(scope="module")
def taught(fitted: bc.Fit) -> bc.Fit:
    return bc.learn_scales(fitted)


@pytest.mark.slow
def test_learning_changes_the_scales_alone(fitted: bc.Fit, taught: bc.Fit):
    before, after = fitted.posterior, taught.posterior
    for name in fitted.spec.priors:
        same = np.array_equal(before[name], after[name])
        assert same == (name not in {"annealing_scale", "peak_scale"})
    assert taught.converged
    assert set(taught.left_out["run"]) == set(fitted.curves.runs.index)
    assert "left-out runs how far new runs depart" in bc.in_words(taught)
    assert what_left_out_runs_show(fitted) == ""


@pytest.mark.slow
def test_a_file_keeps_what_was_learnt(taught: bc.Fit, tmp_path: Path):
    bc.save(taught, tmp_path / "fit.nc")
    again = bc.load(tmp_path / "fit.nc")
    assert bc.in_words(again) == bc.in_words(taught)
    spoilt = replace(taught, tree=taught.tree.copy())
    spoilt.tree.attrs = {**taught.tree.attrs, "left_out": "[{"}
    bc.save(spoilt, tmp_path / "spoilt.nc")
    with pytest.raises(FitFileError, match="is damaged"):
        bc.load(tmp_path / "spoilt.nc")


def wider(fit: bc.Fit, factor: float) -> bc.Fit:
    """Return a fit whose forecasts are recalibrated by a factor."""
    posterior = fit.posterior
    tree = fit.tree.copy()
    tree["posterior"] = posterior.assign({STRETCH: factor * (posterior["noise_floor"] * 0 + 1)})
    return replace(fit, tree=tree)


def test_a_factor_widens_forecasts_about_their_median(made_up: bc.Fit, tmp_path: Path):
    steps = {"cpt": [500, 3000]}
    plain, wide = (bc.table(bc.forecast(fit, made_up.curves, steps=steps)) for fit in (made_up, wider(made_up, 2.0)))
    np.testing.assert_allclose(wide["q50"], plain["q50"])
    np.testing.assert_allclose(wide["q95"] - wide["q05"], 2 * (plain["q95"] - plain["q05"]))
    assert (wide["recalibrated"] == 2).all()
    assert "recalibrated" not in plain
    figure = bc.plot_forecast(bc.forecast(wider(made_up, 2.0), made_up.curves, steps=steps))
    assert "2.00 times as wide on pt" in figure.get_suptitle()
    bc.save(wider(made_up, -1.0), tmp_path / "damaged.nc")
    with pytest.raises(FitFileError, match="stretch are not numbers above 0"):
        bc.load(tmp_path / "damaged.nc")


def test_with_few_runs_nothing_is_learnt(made_up: bc.Fit):
    assert "can be left out, and 5 are needed" in why_not(made_up)
    with pytest.raises(DataError, match="5 are needed"):
        bc.learn_scales(made_up)


def test_a_fit_is_kept_where_left_out_runs_teach_nothing(
    made_up: bc.Fit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def failing(*_fit: object, **_options: object) -> bc.Fit:
        raise SamplingError("the sampler gave draws that are not finite")

    assert learnt_or_not(made_up, "tempered", 60) is made_up  # too few runs: nothing is tried
    monkeypatch.setattr("bayes_cpt.evaluation.left_out_scales.why_not", lambda _fit: "")
    monkeypatch.setattr("bayes_cpt.learn_scales", failing, raising=False)
    assert learnt_or_not(made_up, "tempered", 60) is made_up
    assert "warning: the sampler gave draws that are not finite" in capsys.readouterr().err
