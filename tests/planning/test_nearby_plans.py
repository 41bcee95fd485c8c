"""Plans near one."""

import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt.errors import DataError
from bayes_cpt.runs.curves import Curves


def planned(curves: Curves, replay: float) -> Curves:
    return bc.resolve(
        bc.plan(parent="pt_m_wsd000", replay=replay, schedule=bc.wsd(peak=1e-3, steps=300, warmup=20)), curves
    )


@pytest.fixture(scope="module")
def curves() -> Curves:
    return bc.read_curves(bc.shipped("data/microcpt"))


def test_plans_near_one_differ_in_replay_or_lr_alone(curves: Curves):
    own = planned(curves, 0.25)
    near = bc.resolve(bc.nearby(own, "pt_m_wsd000_r025"), curves)
    rates = own.learning_rate("pt_m_wsd000_r025")
    assert near.runs["replay"].tolist() == [0.25, 0.3, 0.2, 0.25, 0.25]
    for run, factor in zip(near.runs.index, [1, 1, 1, 1.05, 0.95], strict=True):
        assert near.learning_rate(str(run)) == pytest.approx(factor * rates)
    assert set(near.runs["parent"]) == {"pt_m_wsd000"}
    assert np.unique(near.runs["parent_step"]).size == 1


@pytest.mark.parametrize(("replay", "ratios"), [(0.0, [0, 0.05]), (1.0, [1, 0.95]), (0.98, [0.98, 1, 0.93])])
def test_replay_stays_within_0_and_1(curves: Curves, replay: float, ratios: list[float]):
    own = planned(curves, replay)
    near = bc.resolve(bc.nearby(own, str(own.runs.index[0])), curves)
    assert near.runs["replay"].tolist()[: len(ratios)] == ratios


def test_an_unknown_run_is_refused(curves: Curves):
    with pytest.raises(DataError, match=r"the plan has no run 'pt_m_wsd000_r25' \(did you mean 'pt_m_wsd000_r025'"):
        bc.nearby(planned(curves, 0.25), "pt_m_wsd000_r25")
