"""Texts of limits: which are read, which are refused, and that a written limit is read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayes_cpt.decisions.limits import Limit, at_most, parse_limit
from bayes_cpt.errors import BayesCptError

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
        ("pt <= 3.1 throughout @ 0.8", at_most("pt", loss=3.1, probability=0.8, throughout=True)),
        ("pt <= +.1 throughout", at_most("pt", change=0.1, throughout=True)),
    ],
)
def test_reads_limits(text: str, limit: Limit):
    assert parse_limit(text) == limit


@given(DOMAINS, st.sampled_from(["change", "loss"]), st.floats(0, 1e6), st.floats(0.001, 0.999), st.booleans())
def test_a_limit_written_reads_back(domain: str, quantity: str, bound: float, probability: float, throughout: bool):
    limit = at_most(domain, **{quantity: bound}, probability=probability, throughout=throughout)
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
        ("pt <= 1.7 always", "not of the form"),
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
