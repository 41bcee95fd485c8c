"""The user's own plan judged, on draws whose answers are known by hand."""

import pytest
from artificial import FOUR_DRAWS, forecast

from bayes_cpt.decisions.answers import judge, judgement
from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.errors import DataError

OWN = forecast(
    {
        "mine": {"pt": [0.0, 0.1, 0.2, 0.3], "cpt": [-0.9, -0.9, -0.9, -0.9]},
        "mine replay 0.3": {"pt": [0.0, 0.0, 0.1, 0.2], "cpt": [-0.7, -0.7, -0.7, -0.7]},
    }
)


def test_what_is_lost_is_compared_draw_by_draw():
    decision = decide(FOUR_DRAWS, {"pt": 1, "cpt": 1})
    assert decision.chosen == "bold"  # -.9, -.8, -.7, -.6
    judged = judge(decision, OWN).set_index("run")
    assert [judged.loc["mine", f"worse_{of}"] for of in ("mean", "q05", "q95")] == pytest.approx([0.0] * 3)
    assert judged.loc["mine replay 0.3", "worse_mean"] == pytest.approx(0.125)
    assert judged.loc["mine replay 0.3", "against_own_mean"] == pytest.approx(0.125)
    assert judged["best"].unique().tolist() == ["bold"]


def test_the_words_say_whether_it_is_allowed_and_what_binds():
    limit = at_most("pt", change=0.15, probability=0.75)
    loose = at_most("cpt", change=0.0, probability=0.5)
    decision = decide(FOUR_DRAWS, {"cpt": 1}, [loose, limit])
    text = judgement(decision, judge(decision, OWN))
    assert text.startswith(
        "Your plan mine is not allowed: it violates pt <= +0.15: satisfied with probability 0.5, 0.75"
    )
    assert (
        "The limit that binds is pt <= +0.15 @ 0.75: met with probability 0.5; with 0.75 it would meet pt <= +0.2"
        in text
    )
    assert "replay 0.3: objective +0.2000 (+0.2000 to +0.2000), then allowed" in text
    assert "Against even its objective is -0.200" in text


def test_the_draws_must_be_the_same():
    with pytest.raises(DataError, match="different numbers of draws"):
        judge(decide(FOUR_DRAWS, {"cpt": 1}), OWN.isel(draw=[0, 1]))
