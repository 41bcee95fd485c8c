"""Objectives: their texts, weights of losses, prices of costs, and functions of the user."""

import numpy as np
import pytest
import xarray as xr

from bayes_cpt.decisions.limits import Limit, at_most
from bayes_cpt.decisions.objectives import Minimise, check_weights, costs, objective, objective_text, parse_objective
from bayes_cpt.decisions.outcomes import Question, check_question
from bayes_cpt.errors import BayesCptError, DataError


def asked(minimise: Minimise, *limits: Limit) -> Question:
    return Question(minimise, limits, "mean", "change", "end", None)


def drawn() -> xr.Dataset:
    """One draw of two runs on two domains; the batch of the second is not known."""
    dims = ("chain", "draw", "run", "domain")
    runs = xr.Dataset(
        coords={
            "run": ["short", "long"],
            "end_step": ("run", [100, 300]),
            "batch_tokens": ("run", [10.0, np.nan]),
            "model_size": ("run", [5.0, 5.0]),
        }
    )
    losses = xr.Dataset(
        {"loss": (dims, [[[[2.0, 3.0], [2.5, 2.0]]]]), "change": (dims, [[[[0.5, -1.0], [1.0, -2.0]]]])},
        {"domain": ["pt", "cpt"], "run": ["short", "long"]},
    )
    return losses.merge(costs(runs))


@pytest.mark.parametrize(
    ("text", "minimise"),
    [
        ("0.5*pt + 0.5*cpt", {"pt": 0.5, "cpt": 0.5}),
        ("pt + 2*cpt", {"pt": 1, "cpt": 2}),
        ("cpt", {"cpt": 1}),
        ("  .25 * pt+1e-1*open-web-math ", {"pt": 0.25, "open-web-math": 0.1}),
        ("0*pt + cpt", {"pt": 0, "cpt": 1}),
        ("0.5*'my + code' + \"it's\"", {"my + code": 0.5, "it's": 1}),
        ("pt + cpt + 1e-5*steps", {"pt": 1, "cpt": 1, "steps": 1e-5}),
        ("1e+1*pt + 2.5E+0*cpt", {"pt": 10, "cpt": 2.5}),
    ],
)
def test_reads_objectives(text: str, minimise: dict[str, float]):
    assert parse_objective(text) == minimise
    assert parse_objective(objective_text(minimise)) == minimise


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not of the form"),
        ("pt +", "is not of the form"),
        ("0.5 pt", "is not of the form"),
        ("'my code' cpt", "is not of the form"),
        ("2*3*pt", "is not of the form"),
        ("half*pt", "has 'half' where a number must be"),
        ("pt + 2*pt", "has the domain 'pt' twice"),
        ("-1*pt + cpt", "the weight -1 for 'pt'; a weight must be a number of at least 0"),
        ("nan*pt", "the weight nan for 'pt'"),
        ("0*pt + 0*cpt", "no weight above 0"),
        ("1e-5*steps", "no weight above 0"),
        ("__import__('os')", None),
    ],
)
def test_refuses_objectives(text: str, message: str | None):
    if message is None:  # nothing is evaluated: code is the name of an unknown domain
        with pytest.raises(DataError, match="names the domain"):
            check_question(asked(parse_objective(text)), ["pt", "cpt"])
        return
    with pytest.raises(BayesCptError, match=message):
        parse_objective(text)


def test_unknown_domains_are_refused_with_a_hint():
    with pytest.raises(DataError, match=r"objective names the domain 'ppt' \(did you mean 'pt'\?\).* are cpt, pt\."):
        check_question(asked({"ppt": 1}), ["pt", "cpt"])
    with pytest.raises(DataError, match=r"limit 'books <= \+0.05' names the domain 'books'; the domains are cpt, pt"):
        check_question(asked({"pt": 1}, at_most("books", change=0.05)), ["pt", "cpt"])
    check_question(asked({"pt": 1, "flops": 1e-20}, at_most("cpt", loss=1)), ["pt", "cpt"])


def test_no_weights_are_refused():
    with pytest.raises(BayesCptError, match="no weight above 0"):
        check_weights({})


def test_weights_are_of_changes_or_losses_and_costs_have_a_price():
    def of(minimise: Minimise, quantity: str = "change") -> list[float]:
        return objective(drawn(), minimise, quantity).to_numpy().ravel().tolist()  # pyright: ignore[reportArgumentType]

    assert of({"pt": 1, "cpt": 2}) == [-1.5, -3.0]
    assert of({"pt": 1, "cpt": 2}, "loss") == [8.0, 6.5]
    assert of({"cpt": 1, "steps": 0.01}) == [0.0, 1.0]  # the longer run gains 1 nat and costs 2
    with pytest.raises(DataError, match="price for tokens, which is not known for run 'long'; give batch_tokens"):
        of({"cpt": 1, "tokens": 0.01})


def test_costs_count_tokens_and_flops():
    found = drawn()[["steps", "tokens", "flops"]].sel(run="short")
    assert [float(cost) for cost in found.values()] == [100, 1000, 6 * 5 * 1000]


def test_a_function_of_draws_is_an_objective_if_it_keeps_the_runs():
    worst = objective(drawn(), lambda draws: draws["loss"].max("domain"), "change")
    assert worst.to_numpy().ravel().tolist() == [3.0, 2.5]
    with pytest.raises(BayesCptError, match="must return a DataArray of the dimensions chain, draw, run, not float"):
        objective(drawn(), lambda _draws: 1.0, "change")  # pyright: ignore[reportArgumentType, reportReturnType]
    with pytest.raises(BayesCptError, match="returned NaN"):
        objective(drawn(), lambda draws: draws["loss"].max("domain") * np.nan, "change")
