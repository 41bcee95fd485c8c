"""Runs that a law does not describe are refused, with a hint."""

from collections.abc import Callable

import pytest

import bayes_cpt as bc
from bayes_cpt.errors import DataError
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.statistical_model.observations import check_runs, observe

LARGER = "model_size == 332448"


def pilots(curves: Curves, *runs: str) -> Curves:
    """Return CPT runs without their history."""
    alone = curves.runs.loc[list(runs)].assign(parent=None, parent_step=None)
    lr, losses = (rows[rows["run"].isin(runs)] for rows in (curves.lr, curves.losses))
    return curves_from_frames(alone, lr, losses)


def of_two_checkpoints(curves: Curves) -> Curves:
    return pilots(curves, "cpt_m_wsd000_wsd_r000", "cpt_m_const_4000_const_r000")


def without_size(curves: Curves) -> Curves:
    return curves_from_frames(curves.runs.assign(model_size=None), curves.lr, curves.losses)


REFUSED: dict[str, tuple[str, Callable[[Curves], Curves], str]] = {
    "no size": ("cpt-size", without_size, "needs the model size of every run: give that of '"),
    "two sizes": ("cpt-replay", lambda c: c, r'have 98624, 332448: choose one, as with --where "model_size == 332448"'),
    "CPT for a law of PT": ("annealing", lambda c: select(c, LARGER), "add --where \"phase == 'pt'\""),
    "PT for a law of CPT": (
        "cpt",
        lambda c: select(c, f"{LARGER} and phase == 'pt'"),
        "the data have none: use -m ann",
    ),
    "several ratios": ("cpt", lambda c: select(c, LARGER), "ratios 0, 0.25, 0.5, 1: use -m cpt-replay, or choose one"),
    "several lengths": ("data-mixing", lambda c: select(c, LARGER), "2,400, 3,000 steps: use -m d-cpt"),
    "no history": (
        "cpt-replay",
        of_two_checkpoints,
        "has no parent, so its pre-training is unknown: use -m open-check",
    ),
    "a history": ("open-checkpoint", lambda c: select(c, LARGER), "the data have pre-training runs: use -m cpt-replay"),
    "two checkpoints": (
        "open-checkpoint",
        of_two_checkpoints,
        r"run 'cpt_m_wsd000_wsd_r000' starts at a loss of 2\.14027 on cpt, .* at .*: an open "
        "model is of one checkpoint, so choose the runs from one with --where",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_runs_that_a_law_does_not_describe_are_refused(fault: str, microcpt: Curves):
    name, change, words = REFUSED[fault]
    with pytest.raises(DataError, match=words):
        check_runs(change(microcpt), LAWS[name])


def test_pilots_of_one_checkpoint_may_measure_it_on_different_texts(microcpt: Curves):
    alone = pilots(microcpt, "cpt_m_wsd000_wsd_r000", "cpt_m_wsd000_wsd_r050")
    first = (alone.losses["run"] == "cpt_m_wsd000_wsd_r000") & (alone.losses["step"] == 0)
    noisy = alone.losses.assign(loss=alone.losses["loss"].where(~first, alone.losses["loss"] * 1.005))
    check_runs(curves_from_frames(alone.runs, alone.lr, noisy), LAWS["open-checkpoint"])


def test_a_run_that_continues_a_pilot_starts_at_its_loss(microcpt: Curves):
    alone = pilots(microcpt, "cpt_m_wsd000_wsd_r000", "cpt_m_const_4000_const_r000")
    runs = alone.runs.copy()
    runs.loc["cpt_m_const_4000_const_r000", ["parent", "parent_step"]] = ["cpt_m_wsd000_wsd_r000", 3000]
    check_runs(curves_from_frames(runs, alone.lr, alone.losses), LAWS["open-checkpoint"])


def test_whether_fit_takes_the_curves_is_said_without_fitting():
    both_sizes = bc.read_curves(bc.shipped("data/microcpt"))
    assert bc.what_fit_says(both_sizes).startswith("`fit` refuses these data without options: law 'cpt-replay' has no")
    assert bc.what_fit_says(bc.select(both_sizes, "model_size == 332448")) == "`fit` accepts these data."
    of_pt = bc.select(both_sizes, "phase == 'pt'")  # no model takes two sizes without CPT runs, but one takes each size
    assert "has no model size" in bc.what_fit_says(of_pt)
    strange = both_sizes.losses.assign(domain=both_sizes.losses["domain"].replace({"pt": "old", "cpt": "new"}))
    with pytest.raises(DataError, match="no losses on pt or cpt: the data have de, doc, eng, new, old; say which"):
        bc.what_fit_says(both_sizes.with_losses(strange))


def test_peaks_of_runs_that_are_left_out_are_not_fitted(microcpt: Curves):
    larger = select(microcpt, LARGER, ["pt"])
    everything = observe(larger, LAWS["cpt-replay"])
    low = "cpt_m_wsd010_norewarm_r000"
    without = everything.only(everything.design.run != everything.design.runs.index(low))
    assert everything.fitted_range.peaks_cpt == pytest.approx((0.1, 0.3, 1.0), rel=1e-3)
    assert without.fitted_range.peaks_cpt == pytest.approx((0.3, 1.0), rel=1e-3)
    assert without.fitted_range.peaks_pt == everything.fitted_range.peaks_pt == pytest.approx((1.0,))
