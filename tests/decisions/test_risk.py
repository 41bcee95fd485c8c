"""Risk measures against their closed forms on a Normal, in both tails."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from bayes_cpt.decisions.risk import RISKS, cvar, resolve_risk
from bayes_cpt.errors import BayesCptError

MEAN, SD = 2.0, 0.5
PROBABILITIES = (0.05, 0.1, 0.5, 0.9, 0.99)
# Evenly spaced quantiles stand for a Normal sample without its noise.
NORMAL = norm.ppf((np.arange(200_000) + 0.5) / 200_000, MEAN, SD)
CLOSED_FORMS: dict[str, tuple[tuple[float, ...], Callable[[float], Any]]] = {
    "mean": ((0.0,), lambda _: MEAN),
    "quantile": (PROBABILITIES, lambda p: norm.ppf(p, MEAN, SD)),
    "cvar": (PROBABILITIES, lambda p: MEAN + SD * norm.pdf(norm.ppf(p)) / (1 - p)),
    "mean-variance": ((0.0, 0.5, 2.0), lambda price: MEAN + price * SD**2),
    "chance": ((1.0, 1.5, 2.0, 2.5, 3.0), lambda level: norm.sf(level, MEAN, SD)),
}


def test_every_risk_has_a_closed_form_here():
    assert set(CLOSED_FORMS) == set(RISKS)


@pytest.mark.parametrize(
    ("name", "level"), [(name, level) for name, (levels, _) in CLOSED_FORMS.items() for level in levels]
)
def test_closed_form_on_a_normal(name: str, level: float):
    assert RISKS[name].measure(NORMAL, level) == pytest.approx(CLOSED_FORMS[name][1](level), abs=2e-4)


@pytest.mark.parametrize("name", RISKS)
def test_reduces_the_last_axis(name: str):
    draws = np.random.default_rng(1).normal(size=(3, 2, 50))
    measured = RISKS[name].measure(draws, 0.4)
    assert measured.shape == (3, 2)
    assert measured[2, 1] == pytest.approx(RISKS[name].measure(draws[2, 1], 0.4))


def test_cvar_averages_the_worst_draws_and_counts_one_across_the_edge_in_part():
    draws = np.array([0.0, 3.0, 1.0, 2.0, 10.0])
    assert cvar(draws, 0.6) == pytest.approx((10 + 3) / 2)
    assert cvar(draws, 0.7) == pytest.approx((10 + 0.5 * 3) / 1.5)


@given(arrays(float, 20, elements=st.floats(-100, 100)), st.floats(0.01, 0.99))
def test_cvar_is_at_least_the_quantile_and_the_mean_and_at_most_the_worst(draws: np.ndarray, level: float):
    value = cvar(draws, level)
    assert value >= np.quantile(draws, level, method="inverted_cdf")
    assert draws.mean() - 1e-9 <= value <= draws.max() + 1e-9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean", MEAN),
        ("cvar", CLOSED_FORMS["cvar"][1](0.9)),
        ("cvar @ 0.99", CLOSED_FORMS["cvar"][1](0.99)),
        ("quantile@.1", CLOSED_FORMS["quantile"][1](0.1)),
        ("chance @ 2.5", CLOSED_FORMS["chance"][1](2.5)),
        ("chance @ -1", 1.0),
        ("chance", 1 - norm.cdf(-MEAN / SD)),
    ],
)
def test_resolves_text(text: str, expected: float):
    assert resolve_risk(text)(NORMAL) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "cva",
            r"unknown risk measure 'cva' \(did you mean 'cvar'\?\): the risk measures are mean, quantile, ",
        ),
        ("", "unknown risk measure ''"),
        ("mean @ 0.9", "takes none; write 'mean'"),
        ("cvar @ 1", "level '1'; cvar takes a probability between 0 and 1"),
        ("cvar @", "level ''"),
        ("quantile @ much", "level 'much'"),
        ("chance @ nan", "level 'nan'; chance takes a number"),
    ],
)
def test_refuses_text(text: str, message: str):
    with pytest.raises(BayesCptError, match=message):
        resolve_risk(text)
