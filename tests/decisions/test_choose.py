"""Choosing, on artificial draws whose answers are known by hand."""

from typing import Any

import numpy as np
import pytest
import xarray as xr
from artificial import FOUR_DRAWS, forecast
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt.decisions.answers import answer
from bayes_cpt.decisions.choose import Decision, decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.decisions.risk import RISKS
from bayes_cpt.errors import BayesCptError, DataError


def by_run(decision: Decision, column: str) -> dict[Any, Any]:
    return decision.table.set_index("run")[column].to_dict()


def test_objective_is_the_weighted_change_and_the_lowest_wins():
    decision = decide(FOUR_DRAWS, {"pt": 1, "cpt": 2})
    assert by_run(decision, "objective_mean") == pytest.approx({"bold": -1.75, "even": -1.3, "meek": -0.9})
    assert by_run(decision, "objective_risk") == by_run(decision, "objective_mean")
    assert by_run(decision, "pt_change_mean") == pytest.approx({"bold": 0.25, "even": 0.1, "meek": 0})
    assert by_run(decision, "cpt_loss_mean") == pytest.approx({"bold": 2.0, "even": 2.3, "meek": 2.55})
    assert by_run(decision, "pt_change_q95")["bold"] == pytest.approx(0.385)
    assert by_run(decision, "pt_loss_q05")["bold"] == pytest.approx(2.115)
    assert decision.chosen == "bold"
    assert by_run(decision, "chosen") == {"bold": True, "even": False, "meek": False}
    assert "Choose bold" in decision.conclusion
    assert by_run(decision, "reason")["meek"] == "objective 0.85 worse on average, best in 25 % of draws"


def test_shares_and_regret_are_counted_draw_by_draw():
    """On cpt even has -.6, -.6, -.8, -.8 and meek -.3, -.3, -.3, -.9: they swap places in the last draw."""
    decision = decide(FOUR_DRAWS.sel(run=["even", "meek"]), {"cpt": 1})
    assert by_run(decision, "probability_best") == {"even": 0.75, "meek": 0.25}
    assert by_run(decision, "expected_regret") == pytest.approx({"even": 0.025, "meek": (0.3 + 0.3 + 0.5) / 4})


def test_limits_exclude_and_only_feasible_candidates_are_compared():
    limit = at_most("pt", change=0.15, probability=0.75)
    decision = decide(FOUR_DRAWS, {"pt": 0.5, "cpt": 0.5}, [limit, limit])
    assert decision.limits == (limit,)
    assert (decision.minimise, decision.risk) == ({"pt": 0.5, "cpt": 0.5}, "mean")
    assert by_run(decision, f"probability {limit}") == {"bold": 0.25, "even": 0.75, "meek": 1.0}
    assert by_run(decision, f"meets {limit}") == {"bold": False, "even": True, "meek": True}
    assert by_run(decision, f"needs {limit}") == pytest.approx({"bold": 0.3, "even": 0.1, "meek": 0.0})
    assert by_run(decision, "feasible") == {"bold": False, "even": True, "meek": True}
    assert by_run(decision, "probability_best") == {"bold": 0.0, "even": 0.75, "meek": 0.25}
    assert by_run(decision, "expected_regret")["bold"] < 0
    assert decision.chosen == "even"
    assert by_run(decision, "reason") == {
        "bold": "violates pt <= +0.15: satisfied with probability 0.25, 0.75 required",
        "even": "chosen: lowest objective on average of 2 candidates that meet pt <= +0.15 @ 0.75, "
        "best in 75 % of draws",
        "meek": "objective 0.075 worse on average, best in 25 % of draws",
    }


def test_a_limit_on_the_loss_is_one_on_the_change_from_a_known_transfer_loss():
    change = decide(FOUR_DRAWS, {"cpt": 1}, [at_most("pt", change=0.25)])
    loss = decide(FOUR_DRAWS, {"cpt": 1}, [at_most("pt", loss=2.25)])
    assert change.chosen == loss.chosen == "even"
    assert by_run(change, "feasible") == by_run(loss, "feasible")


def test_without_a_feasible_candidate_nothing_is_chosen_and_the_closest_is_named():
    limits = [at_most("pt", change=0.05), at_most("cpt", change=-0.7, probability=0.5)]
    decision = decide(FOUR_DRAWS, {"cpt": 1}, limits)
    assert decision.chosen is None
    assert not decision.table["chosen"].any()
    # Shortfalls: bold 0.9 (pt), even 0.65 (pt), meek 0.25 (cpt)
    assert decision.conclusion == (
        "None of the 3 candidates meets pt <= +0.05 @ 0.9 and cpt <= -0.7 @ 0.5. The closest is meek: it "
        "violates cpt <= -0.7: satisfied with probability 0.25, 0.5 required. It would meet cpt <= -0.3."
    )
    assert by_run(decision, "reason")["meek"].startswith("closest, but it violates cpt <= -0.7")
    assert by_run(decision, "reason")["even"] == "violates pt <= +0.05: satisfied with probability 0.25, 0.9 required"
    assert by_run(decision, "probability_best") == {"bold": 1.0, "even": 0.0, "meek": 0.0}


def test_infeasible_candidates_are_ordered_by_their_excess():
    decision = decide(FOUR_DRAWS, {"cpt": 1}, [at_most("pt", change=-1)])
    assert "The closest is meek" in decision.conclusion


@pytest.mark.parametrize("risk", ["mean", "cvar", "quantile @ 0.8"])
def test_ties_are_split_and_broken_by_order(risk: str):
    twins = forecast({"first": {"cpt": [-1, -2, -3]}, "second": {"cpt": [-1, -2, -3]}})
    decision = decide(twins, {"cpt": 1}, risk=risk)
    assert by_run(decision, "probability_best") == pytest.approx({"first": 0.5, "second": 0.5})
    assert decision.chosen == "first"
    assert "equal" in by_run(decision, "reason")["second"]


def test_equal_risks_are_ordered_by_expected_regret():
    same_worst = forecast({"low": {"cpt": [-1, -1, -1, 0]}, "lower": {"cpt": [-2, -2, -2, 0]}})
    assert decide(same_worst, {"cpt": 1}, risk="chance @ -0.5").chosen == "lower"


def test_the_risk_decides_between_a_safe_and_a_gambling_candidate():
    pair = forecast({"gamble": {"cpt": [-3, -3, -3, 1]}, "safe": {"cpt": [-1.5, -1.5, -1.5, -1.5]}})
    assert decide(pair, {"cpt": 1}).chosen == "gamble"
    cautious = decide(pair, {"cpt": 1}, risk="cvar @ 0.7")
    assert cautious.chosen == "safe"
    assert "worse by cvar @ 0.7" in by_run(cautious, "reason")["gamble"]
    assert decide(pair, {"cpt": 1}, risk="chance @ -2").chosen == "gamble"


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.sampled_from(sorted(RISKS)))
@settings(max_examples=min(20, settings().max_examples), deadline=None)
def test_a_common_offset_of_all_candidates_cancels(offset: list[float], risk: str):
    """An offset common to all candidates does not change their paired comparison."""
    moved = FOUR_DRAWS.assign(loss=FOUR_DRAWS["loss"] + xr.DataArray([offset], dims=("chain", "draw")))
    before, after = (decide(data, {"pt": 1, "cpt": 3}, risk=risk).table for data in (FOUR_DRAWS, moved))
    np.testing.assert_allclose(after["probability_best"], before["probability_best"])
    np.testing.assert_allclose(after["expected_regret"], before["expected_regret"], atol=1e-9)


@given(
    st.lists(st.lists(st.floats(-2, 2), min_size=7, max_size=7), min_size=1, max_size=5),
    st.floats(-2, 2),
    st.floats(0.05, 0.95),
)
@settings(max_examples=min(50, settings().max_examples), deadline=None)
def test_the_bound_needed_makes_a_candidate_feasible(changes: list[list[float]], bound: float, probability: float):
    candidates = forecast({f"r{i}": {"pt": draws} for i, draws in enumerate(changes)})
    limit = at_most("pt", change=bound, probability=probability)
    table = decide(candidates, {"pt": 1}, [limit]).table
    assert table["probability_best"].sum() == pytest.approx(1)
    assert table["chosen"].sum() == table["feasible"].any()
    for run, needs, meets in zip(table["run"], table[f"needs {limit}"], table[f"meets {limit}"], strict=True):
        assert meets == (needs <= bound)
        relaxed = at_most("pt", change=needs, probability=probability)
        assert decide(candidates.sel(run=[run]), {"pt": 1}, [relaxed]).chosen == run


def test_each_run_is_judged_at_its_own_end():
    runs = {"short": {"cpt": [-0.5, -0.7]}, "long": {"cpt": [-0.9, -1.1]}}
    decision = decide(forecast(runs, end_step=[100, 200]), {"cpt": 1})
    assert by_run(decision, "cpt_change_mean") == pytest.approx({"short": -0.6, "long": -1.0})
    assert by_run(decision, "end_step") == {"short": 100, "long": 200}


def test_the_draws_behind_the_table_come_with_it():
    decision = decide(FOUR_DRAWS, {"pt": 1, "cpt": 2})
    draws = decision.draws
    xr.testing.assert_allclose(
        draws["objective"], draws["change"].sel(domain="pt") + 2 * draws["change"].sel(domain="cpt")
    )
    assert set(draws["loss"].dims) == {"chain", "draw", "run", "domain"}
    assert draws["objective"].mean(["chain", "draw"]).to_numpy() == pytest.approx(decision.table["objective_mean"])


@pytest.mark.parametrize(
    ("data", "minimise", "limits", "risk", "message"),
    [
        (FOUR_DRAWS, {"ptt": 1}, [], "mean", "did you mean 'pt'"),
        (FOUR_DRAWS, {"pt": 1}, [at_most("books", loss=1)], "mean", "names the domain 'books'"),
        (FOUR_DRAWS, {"pt": -1}, [], "mean", "the weight -1 for 'pt'; a weight must be a number of at least 0"),
        (FOUR_DRAWS, {}, [], "mean", "no weight above 0"),
        (FOUR_DRAWS, {"pt": 1}, [], "means", "did you mean 'mean'"),
        (FOUR_DRAWS.isel(run=[]), {"pt": 1}, [], "mean", "no run"),
        (FOUR_DRAWS.isel(step=[0, 1]), {"pt": 1}, [], "mean", "end of run 'bold', step 100, is not a step"),
        (
            FOUR_DRAWS.where(FOUR_DRAWS["run"] != "even").assign_coords(end_step=FOUR_DRAWS["end_step"]),
            {"pt": 1},
            [],
            "mean",
            "end of run 'even', step 100, has no loss",
        ),
    ],
)
def test_refuses(data: xr.Dataset, minimise: dict[str, float], limits: list, risk: str, message: str):
    with pytest.raises(BayesCptError, match=message):
        decide(data, minimise, limits, risk)


def test_missing_ends_are_an_error_of_the_data():
    with pytest.raises(DataError):
        decide(FOUR_DRAWS.isel(step=[0]), {"pt": 1})


def test_the_answer_has_the_question_the_cost_and_the_next_best():
    limit = at_most("pt", change=0.15, probability=0.75)
    text = answer(decide(FOUR_DRAWS, {"pt": 0.5, "cpt": 0.5}, [limit])).splitlines()
    assert text[0].startswith("Minimise 0.5*pt + 0.5*cpt")
    assert text[1] == "Keep pt <= +0.15 @ 0.75"
    assert text[2].startswith("Choose even")
    assert "replay 0.25, peak LR 0.001, 100 steps from base" in text[3]
    assert text[4].strip() == "pt: loss 2.100 (2.015 to 2.185), change +0.100 (+0.015 to +0.185)"
    assert text[6].startswith("Next: meek")
    assert not any("Warning" in line for line in text)


def test_the_answer_includes_the_warning_of_the_forecast():
    shaky = FOUR_DRAWS.assign_attrs(warning="R-hat of 1.3: do not trust this.")
    assert answer(decide(shaky, {"pt": 1})).startswith("Warning: R-hat of 1.3: do not trust this.\n")


def test_all_limits_at_once_may_be_required_too():
    """Each limit is met in three of four draws, both at once in two of them."""
    either = {"pt": [0.0, 0.0, 0.0, 1.0], "cpt": [1.0, 0.0, 0.0, 0.0]}
    draws = forecast({"a": either, "b": {"pt": [1.0] * 4, "cpt": [1.0] * 4}})
    limits = [at_most(domain, change=0.5, probability=0.75) for domain in ("pt", "cpt")]
    assert decide(draws, {"pt": 1}, limits).chosen == "a"
    assert by_run(decide(draws, {"pt": 1}, limits), "probability_all_limits") == {"a": 0.5, "b": 0.0}
    assert decide(draws, {"pt": 1}, limits, joint=0.5).chosen == "a"
    firmer = decide(draws, {"pt": 1}, limits, joint=0.6)
    assert firmer.chosen is None
    assert "meets all limits at once with probability 0.5, 0.6 required" in firmer.conclusion
    with pytest.raises(BayesCptError, match="joint probability of all limits is 1; it must lie between 0 and 1"):
        decide(draws, {"pt": 1}, limits, joint=1.0)


def test_the_worst_regret_is_the_mean_over_the_worst_draws():
    changes = np.zeros(100)
    changes[:10] = np.arange(10)
    decision = decide(forecast({"a": {"pt": changes.tolist()}, "b": {"pt": [0.0] * 100}}), {"pt": 1})
    assert by_run(decision, "cvar_regret") == pytest.approx({"a": 4.5, "b": 0.0})


def test_a_choice_where_nothing_was_measured_says_so_first():
    outside = FOUR_DRAWS.assign_coords(extrapolates=("run", ["replay", "", ""]))
    assert decide(outside, {"cpt": 1}).conclusion.startswith(
        "The best lies where nothing was measured (replay): measure"
    )
    assert by_run(decide(outside, {"pt": 1}), "extrapolates") == {"bold": "replay", "even": "", "meek": ""}
    assert decide(outside, {"pt": 1}).conclusion.startswith("Choose meek")


def test_the_table_has_the_warning_of_the_fit():
    assert "warning" not in decide(FOUR_DRAWS, {"pt": 1}).table
    shaky = FOUR_DRAWS.assign_attrs(warning="not converged", findings="a spike\nan offset")
    assert set(decide(shaky, {"pt": 1}).table["warning"]) == {"not converged; a spike; an offset"}
