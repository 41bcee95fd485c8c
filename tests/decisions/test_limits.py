"""Texts of limits and objectives: which are read, which are refused, and that a written limit is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_cpt.decisions.limits import (
    Limit,
    at_most,
    check_domains,
    check_weights,
    objective_text,
    parse_limit,
    parse_objective,
)
from bayes_cpt.errors import BayesCptError, DataError

FINITE = st.floats(allow_nan=False, allow_infinity=False)
DOMAINS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("pt <= +0.05 @ 0.9", Limit("pt", change=0.05, level=None, probability=0.9)),
        ("pt <= 1.7 @ 0.8", Limit("pt", change=None, level=1.7, probability=0.8)),
        ("pt<=+.05", at_most("pt", change=0.05)),
        ("  open-web-math <= -1e-2@.5 ", at_most("open-web-math", change=-0.01, probability=0.5)),
        ("cpt <= +0", at_most("cpt", change=0)),
        ("'my + code' <= 1.7", at_most("my + code", loss=1.7)),
        ('"a <= b" <= +0.1 @ 0.5', at_most("a <= b", change=0.1, probability=0.5)),
    ],
)
def test_reads_limits(text: str, limit: Limit):
    assert parse_limit(text) == limit


@given(DOMAINS, st.sampled_from(["change", "loss"]), st.floats(0, 1e6), st.floats(0.001, 0.999))
def test_a_limit_written_reads_back(domain: str, quantity: str, bound: float, probability: float):
    limit = at_most(domain, **{quantity: bound}, probability=probability)
    assert parse_limit(str(limit)) == limit
    assert (limit.quantity, limit.bound) == (quantity, bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pt < 0.05", "'pt < 0.05' is not of the form"),
        ("pt", "not of the form"),
        ("<= 1.7", "not of the form"),
        ("pt <= 1.7 @", "not of the form"),
        ("pt <= 1.7 @ .9 @ .8", "not of the form"),
        ("pt <= much", "has 'much' where a number must be"),
        ("pt <= 5%", "has '5%' where a number must be"),
        ("pt <= +0.05 @ 90%", "has '90%' where a number must be"),
        ("pt <= +0.05 @ 90", "has probability 90; it must lie between 0 and 1"),
        ("pt <= +0.05 @ 1", "has probability 1;"),
        ("pt <= +0.05 @ 0", "has probability 0;"),
        ("pt <= +0.05 @ nan", "has probability nan;"),
        ("pt <= inf", "has the bound inf; it must be a finite number"),
    ],
)
def test_refuses_limits(text: str, message: str):
    with pytest.raises(BayesCptError, match=message):
        parse_limit(text)


@pytest.mark.parametrize("bounds", [{}, {"change": 0.1, "loss": 2.0}])
def test_a_limit_has_one_bound(bounds: dict[str, float]):
    with pytest.raises(BayesCptError, match="give one of the two"):
        at_most("pt", **bounds)


@pytest.mark.parametrize(
    ("text", "minimise"),
    [
        ("0.5*pt + 0.5*cpt", {"pt": 0.5, "cpt": 0.5}),
        ("pt + 2*cpt", {"pt": 1, "cpt": 2}),
        ("cpt", {"cpt": 1}),
        ("  .25 * pt+1e-1*open-web-math ", {"pt": 0.25, "open-web-math": 0.1}),
        ("0*pt + cpt", {"pt": 0, "cpt": 1}),
        ("0.5*'my + code' + \"it's\"", {"my + code": 0.5, "it's": 1}),
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
        ("__import__('os')", None),
    ],
)
def test_refuses_objectives(text: str, message: str | None):
    if message is None:  # nothing is evaluated: code is the name of an unknown domain
        with pytest.raises(DataError, match="names the domain"):
            check_domains(parse_objective(text), [], ["pt", "cpt"])
        return
    with pytest.raises(BayesCptError, match=message):
        parse_objective(text)


def test_unknown_domains_are_refused_with_a_hint():
    with pytest.raises(DataError, match=r"objective names the domain 'ppt' \(did you mean 'pt'\?\).* are cpt, pt\."):
        check_domains({"ppt": 1}, [], ["pt", "cpt"])
    with pytest.raises(DataError, match=r"limit 'books <= \+0.05' names the domain 'books'; the domains are cpt, pt"):
        check_domains({"pt": 1}, [at_most("books", change=0.05)], ["pt", "cpt"])
    check_domains({"pt": 1}, [at_most("cpt", loss=1)], ["pt", "cpt"])


def test_no_weights_are_refused():
    with pytest.raises(BayesCptError, match="no weight above 0"):
        check_weights({})
