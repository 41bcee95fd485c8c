"""Losses in bins: nothing is lost where the law is straight, and what is left out of a fit stays out."""

import numpy as np
import pandas as pd
import pytest

import bayes_cpt as bc
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.bins import LEAST, MOST, Bins


def long_curves(losses: int, steps: int = 40_000) -> bc.Curves:
    """Return a run from scratch with so many losses of a power law, and noise."""
    step = np.unique(np.linspace(200, steps, losses).astype(int))
    loss = 2 + 3 * step**-0.4 + 0.01 * np.random.default_rng(1).standard_normal(len(step))
    runs = pd.DataFrame({"run": ["a"], "phase": ["pt"], "parent": [None], "parent_step": [None], "replay": [None]})
    lr = pd.DataFrame({"run": "a", "step": [1, 100, steps], "lr": [1e-5, 1e-3, 1e-3]})
    return bc.curves_from_frames(runs, lr, pd.DataFrame({"run": "a", "step": step, "domain": "pt", "loss": loss}))


@pytest.fixture(scope="module")
def long() -> bc.Prepared:
    return bc.prepare(long_curves(20_000), "annealing")


def test_twenty_thousand_losses_become_some_dozen_points(long: bc.Prepared):
    bins = long.bins["pt"]
    assert len(bins.count) <= 2 * MOST
    assert bins.count.sum() == len(long.observations.losses["pt"])


def test_every_loss_is_in_one_bin(long: bc.Prepared):
    bins, losses = long.bins["pt"], long.observations.losses["pt"]
    assert np.bincount(bins.member, minlength=len(bins.count)) == pytest.approx(bins.count)
    assert (bins.loss * bins.count).sum() == pytest.approx(losses.sum())
    averaged = bins.count[bins.count > 1]
    assert averaged.min() >= LEAST
    # the scatter is that of the noise, .01, with two degrees of freedom a bin taken up by the line
    assert np.sqrt(bins.scatter.sum() / bins.freedom.sum()) == pytest.approx(0.01, rel=0.05)
    assert bins.freedom.sum() == (averaged - 2).sum()


def test_features_of_a_bin_are_means(long: bc.Prepared):
    bins, design, places = long.bins["pt"], long.observations.design, long.observations.places["pt"]
    area = np.bincount(bins.member, design.features["forward_area_pt"][places], minlength=len(bins.count))
    kept = bins.count > 0
    np.testing.assert_allclose(bins.design.features["forward_area_pt"][kept], area[kept] / bins.count[kept])


def test_a_run_of_few_points_keeps_them(tiny: bc.Curves):
    prepared = bc.prepare(tiny, "cpt-replay")
    for domain, bins in prepared.bins.items():
        assert bins.count.max() == 1
        assert sorted(bins.loss[bins.count > 0]) == pytest.approx(sorted(prepared.observations.losses[domain]))


@pytest.mark.parametrize("step", [300, 7_000, 39_000])
def test_bins_end_where_a_holdout_begins(step: int):
    """What is left out of a fit, and nothing else, is left out of the bins."""
    prepared = bc.prepare(long_curves(2_000), "annealing", holdouts=[Holdout("late", {"a": step})])
    observations = prepared.observations
    kept = observations.design.step[observations.places["pt"]] < step
    left: Bins = prepared.bins["pt"].only(kept)
    assert left.count.sum() == kept.sum()
    assert (left.loss * left.count).sum() == pytest.approx(observations.losses["pt"][kept].sum())
