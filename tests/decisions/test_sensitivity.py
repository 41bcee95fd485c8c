"""How the choice moves: each row is a decision made anew."""

from artificial import FOUR_DRAWS

from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.decisions.sensitivity import sensitivity


def test_each_row_is_the_decision_with_that_weight_bound_or_probability():
    limit = at_most("pt", change=0.2, probability=0.75)
    minimise = {"pt": 0.5, "cpt": 0.5}
    decision = decide(FOUR_DRAWS, minimise, [limit])
    table = sensitivity(decision, FOUR_DRAWS)
    assert set(table["varied"]) == {"weight of pt", f"bound of {limit}", f"probability of {limit}"}
    for row in table.to_dict("records"):
        weights = {"pt": row["value"], "cpt": 1 - row["value"]} if "weight" in row["varied"] else minimise
        bound = row["value"] if "bound" in row["varied"] else 0.2
        probability = row["value"] if "probability" in row["varied"] else 0.75
        again = decide(FOUR_DRAWS, weights, [at_most("pt", change=bound, probability=probability)])
        assert row["chosen"] == (again.chosen or "")
        assert row["same"] == (again.chosen == decision.chosen)


def test_a_firmer_promise_never_has_a_lower_objective():
    limit = at_most("pt", change=0.15, probability=0.75)
    table = sensitivity(decide(FOUR_DRAWS, {"cpt": 1}, [limit]), FOUR_DRAWS)
    promises = table[table["varied"] == f"probability of {limit}"].sort_values("value")
    assert promises["objective_mean"].is_monotonic_increasing
    assert promises["chosen"].iloc[0] != promises["chosen"].iloc[-1]
    bounds = table[table["varied"] == f"bound of {limit}"].sort_values("value")
    assert bounds["objective_mean"].is_monotonic_decreasing
    assert (bounds["chosen"] != "").all()  # the strictest bound is one that a candidate meets


def test_a_function_as_objective_has_no_weights():
    decision = decide(FOUR_DRAWS, lambda draws: draws["change"].max("domain"))
    assert sensitivity(decision, FOUR_DRAWS).empty
