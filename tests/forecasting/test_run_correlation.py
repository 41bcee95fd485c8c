"""Effects of planned runs: the closer their settings, the higher their correlation."""

from pathlib import Path

import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt.forecasting.run_correlation import INDEPENDENT_SHARE, correlation, kindred, waves


@pytest.fixture
def family(tiny_folder: Path) -> bc.Curves:
    """Return the tiny runs, and plans that differ in replay, or in peak, from their parent's end."""
    curves = bc.read_curves(tiny_folder)
    schedule = bc.wsd(peak=[1e-3, 4e-3], steps=50, warmup=10)
    return bc.resolve(bc.plan(parent="pt_decay", replay=[0.2, 0.25, 0.8], schedule=schedule), curves)


def named(curves: bc.Curves, replay: float, peak: float) -> str:
    rates = curves.lr.groupby("run")["lr"].max()
    return next(run for run in curves.runs.index if curves.runs["replay"][run] == replay and rates[run] == peak)


def test_correlation_grows_as_settings_get_closer(family: bc.Curves):
    one, near, far, faster = (named(family, *at) for at in ((0.2, 1e-3), (0.25, 1e-3), (0.8, 1e-3), (0.2, 4e-3)))
    likeness = correlation(family, [("shift", run) for run in (one, near, far, faster)])
    np.testing.assert_allclose(np.diag(likeness), 1)
    np.testing.assert_allclose(likeness, likeness.T)
    assert 1 - INDEPENDENT_SHARE > likeness[0, 1] > 0.85
    assert max(likeness[0, 2], likeness[0, 3]) < 0.5
    assert np.linalg.eigvalsh(likeness).min() > 0


def test_parts_of_the_discrepancy_are_independent_and_so_are_modes(family: bc.Curves):
    run = family.runs.index[0]
    np.testing.assert_array_equal(correlation(family, [("shift", run), ("annealing", run), ("smooth", 0)]), np.eye(3))


def test_without_new_effects_the_correlation_is_empty(family: bc.Curves):
    assert correlation(family, []).shape == (0, 0)


def test_pilots_of_an_open_checkpoint_are_correlated(family: bc.Curves):
    cpt = [run for run, record in family.records.items() if record.phase == "cpt"]
    hidden = family.runs.loc[cpt].assign(parent=None, parent_step=None)
    curves = bc.curves_from_frames(hidden, family.lr[family.lr["run"].isin(cpt)])
    effects = [("shift", run) for run in cpt]
    np.testing.assert_allclose(correlation(curves, effects), correlation(family, effects))


def test_a_run_from_scratch_is_not_correlated_with_others(tiny_folder: Path):
    curves = bc.read_curves(tiny_folder)
    assert {run: kindred(curves, run) for run in curves.records} == {
        "pt_const": False,
        "pt_decay": True,
        "cpt_r00": True,
        "cpt_r50": True,
    }
    for run in curves.records:
        assert waves(curves, run) @ waves(curves, run) == pytest.approx(1)
    effects = [("annealing", "pt_decay"), ("annealing", "cpt_r00"), ("annealing", "pt_const")]
    np.testing.assert_array_equal(correlation(curves, effects), np.eye(3))
