"""Backtests: folds, refits that do not use what is left out, and verdicts on the scores."""

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

import bayes_cpt as bc
from bayes_cpt.errors import DataError
from bayes_cpt.evaluation.backtest import backtest, folds
from bayes_cpt.evaluation.scores import read_scores
from bayes_cpt.evaluation.verdict import means, verdict
from bayes_cpt.inference.fit import Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import REFIT
from bayes_cpt.runs.holdout import Holdout


def left_out(curves: bc.Curves, leave: str) -> list[set[str]]:
    return [set(fold.first_step) for fold in folds(curves, leave)]


@pytest.fixture(scope="module")
def larger(microcpt: bc.Curves) -> bc.Curves:
    return bc.select(microcpt, "model_size == 332448", ["pt", "cpt"])


def test_runs_that_differ_in_seed_alone_are_left_out_together(larger: bc.Curves):
    groups = left_out(larger, "run")
    assert {"cpt_m_wsd000_wsd_r000", "cpt_m_wsd000_wsd_r000_seed2"} in groups
    assert len(groups) == 8
    assert sum(map(len, groups)) == 9


def test_each_kind_of_fold_leaves_out_all_runs_that_answer_its_question(larger: bc.Curves):
    ratios = larger.runs["replay"].dropna()
    assert left_out(larger, "replay") == [set(ratios.index[ratios == ratio]) for ratio in (0.25, 0.5, 1)]
    assert {"cpt_m_wsd000_cos_r000_peak30"} in left_out(larger, "schedule")
    assert {"cpt_m_wsd010_norewarm_r000"} in left_out(larger, "checkpoint")


def test_longer_runs_are_left_out_and_the_shortest_stay(larger: bc.Curves):
    few = bc.select(larger, "run in ['cpt_m_wsd010_norewarm_r000', 'cpt_m_wsd000_wsd_r000', 'pt_m_const']")
    assert left_out(few, "length") == [{"cpt_m_wsd000_wsd_r000"}]


def test_at_most_half_of_the_runs_are_left_out_at_once(larger: bc.Curves):
    """A fit to the two short runs, each of a checkpoint of its own, would not be informative."""
    with pytest.raises(DataError, match="each group has more than half of the 9 runs"):
        folds(larger, "length")


def test_the_children_of_a_run_are_left_out_with_it(tiny: bc.Curves):
    pretraining = bc.select(tiny, "phase == 'pt'")
    assert left_out(pretraining, "run") == [{"pt_decay"}]  # the trunk would take all with it


def test_tails_are_cut_by_the_share_shown(tiny: bc.Curves):
    assert folds(tiny, "tail", 0.3) == [Holdout("cpt_r00", {"cpt_r00": 15}), Holdout("cpt_r50", {"cpt_r50": 15})]


@pytest.mark.parametrize(
    ("leave", "cut", "words"),
    [
        ("replai", 0.5, "did you mean 'replay'?"),
        ("checkpoint", 0.5, "nothing to leave out"),
        ("tail", 1.0, "between 0 and 1, not 1"),
    ],
)
def test_folds_that_are_impossible_are_refused(tiny: bc.Curves, leave: str, cut: float, words: str):
    with pytest.raises(DataError, match=words.replace("?", r"\?")):
        folds(tiny, leave, cut)


@pytest.mark.slow
def test_a_refit_does_not_see_what_is_left_out(prepared_cpt: Prepared, simulated: bc.Curves):
    """A large change of a run's losses does not change any digit of a fit without the run."""
    spoilt = simulated.losses.assign(loss=simulated.losses["loss"] + 9 * (simulated.losses["run"] == "going"))
    other = prepare(bc.curves_from_frames(simulated.runs, simulated.lr, spoilt), "cpt", domains=["pt"])
    short = replace(REFIT, draws=50, tune=50)
    fits = [fit_prepared(these, short, Holdout("going", {"going": 0})) for these in (prepared_cpt, other)]
    xr.testing.assert_identical(fits[0].posterior["memory"], fits[1].posterior["memory"])
    assert "going" not in fits[0].curves.runs.index
    assert "going" not in set(fits[0].curves.losses["run"])


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_cpt")
def test_a_law_is_trusted_on_curves_of_its_own(simulated: bc.Curves, tmp_path: Path):
    seen: list[tuple[str, int, int]] = []
    result = backtest(
        simulated, "cpt", leave="run", domains=["pt"], draws=100, tune=100, done=lambda *fold: seen.append(fold)
    )
    assert {(name, folds) for name, _count, folds in seen} == {("cpt", 2), ("going", 2)}
    assert [count for _name, count, _folds in seen] == [1, 2]
    assert set(result.table["run"]) == {"cpt", "going"}
    assert result.points["step"].min() > 0
    assert (result.table["mae"] < 0.02).all()
    assert (means(result.table)["cover90"] > 0.75).all()
    said = verdict(result.table)
    assert said.startswith("Backtest on 2 unseen runs\npt: ")
    assert "of 2 runs end outside their 90 % interval (0.2 expected)" in said
    assert "It does not show how well a run of unseen replay or checkpoint is forecast." in said
    result.table.to_csv(tmp_path / "scores.csv", index=False)
    assert verdict(read_scores(tmp_path / "scores.csv")) == verdict(result.table)
    figure = bc.plot_backtest(result)
    assert [axes.get_title() for axes in figure.axes] == ["pt", "pt", "cpt", "going"]


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_cpt")
def test_a_tail_is_forecast_from_the_first_part_of_the_run(simulated: bc.Curves):
    result = backtest(simulated, "cpt", leave="tail", domains=["pt"], cut=0.6, draws=50, tune=50)
    ahead = result.points.groupby("run")["step"].min()
    assert ahead.to_dict() == {"cpt": 1800, "going": 900}


def test_other_tables_are_not_read_as_scores(tmp_path: Path):
    path = tmp_path / "table.csv"
    with pytest.raises(DataError, match="cannot be read"):
        read_scores(path)
    path.write_text("run,domain\na,pt\n")
    with pytest.raises(DataError, match=r"not a table of bayes-cpt backtest: fold, .*cover50, .* missing"):
        read_scores(path)


@pytest.mark.slow
@pytest.mark.usefixtures("prepared_cpt")
def test_an_interrupted_backtest_keeps_finished_folds(simulated: bc.Curves):
    def stop(_name: str, _count: int, _folds: int) -> None:
        raise KeyboardInterrupt

    result = backtest(simulated, "cpt", domains=["pt"], draws=50, tune=50, done=stop)
    assert (result.points["fold"].nunique(), result.folds) == (1, 2)
