"""Straight coordinates of the own-share form: the same density without the bend of its parameters."""

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt.inference.reparameterisation import Bend, bend_of, bent, straight, straightened
from bayes_cpt.laws.replay import left_of_shift

AT = Bend((1, 2), (4, 5), (0.25, 0.75))
vectors = st.builds(
    lambda scales, exponents, rest: np.array([rest[0], *scales, rest[1], *exponents, rest[2]]),
    st.tuples(*[st.floats(-9, 3)] * 2),
    st.tuples(*[st.floats(-3, 2)] * 2),
    st.tuples(*[st.floats(-5, 5)] * 3),
)


def places(*names: str) -> dict[str, np.ndarray]:
    """Return the indices of variables of two domains in a vector."""
    return {name: np.arange(2 * place, 2 * place + 2) for place, name in enumerate(names)}


OWN_SHARE = places("beta", "replay_scale_log__", "memory_log__", "replay_exponent_log__")


@pytest.mark.parametrize(("ratios", "shares"), [({0.0, 0.5, 1.0}, [0.5, 0.5]), ({0.0, 0.2}, [0.2, 0.8])])
def test_one_ratio_between_0_and_1_makes_a_bend(ratios: set[float], shares: list[float]):
    bend = bend_of(OWN_SHARE, ["pt", "cpt"], ratios)
    assert bend is not None
    assert [list(part) for part in bend] == [[2, 3], [6, 7], shares]


@pytest.mark.parametrize("ratios", [{0.0, 0.25, 0.5}, {0.0, 1.0}, {0.5}, {0.5, 1.0}, set()])
def test_several_ratios_between_0_and_1_or_none_make_no_bend(ratios: set[float]):
    assert bend_of(OWN_SHARE, ["pt", "cpt"], ratios) is None


def test_another_form_of_replay_has_no_bend():
    assert bend_of(places("beta", "a2_log__"), ["pt", "cpt"], {0.0, 0.5}) is None


@settings(deadline=None)  # the first example compiles
@given(vectors)
def test_straight_coordinates_can_be_inverted(x: np.ndarray):
    np.testing.assert_allclose(bent(straight(x, AT), AT), x, rtol=1e-6, atol=1e-6)


@settings(deadline=None)  # the first example compiles
@given(vectors)
def test_the_coordinate_is_the_remaining_share_of_the_shift(x: np.ndarray):
    moved, share = straight(x, AT), np.array(AT.share)
    left = left_of_shift(share, np.exp(x[[*AT.scale]]), np.exp(x[[*AT.exponent]]))
    np.testing.assert_allclose((1 - share) / (1 + np.exp(-moved[[*AT.scale]])), left, rtol=1e-6)
    others = np.delete(np.arange(7), [*AT.scale])
    assert (moved[others] == x[others]).all()


def test_many_vectors_are_taken_at_once():
    many = np.random.default_rng(1).normal(size=(2, 3, 7))
    moved = straight(many, AT)
    np.testing.assert_allclose(moved[1, 2], straight(many[1, 2], AT))
    np.testing.assert_allclose(bent(moved, AT), many, rtol=1e-6, atol=1e-9)


CENTRE = np.linspace(-1, 1, 7)


def density(values: Any) -> tuple[Any, Any]:
    return -0.5 * ((values - CENTRE) ** 2).sum(), CENTRE - values


STRAIGHTENED = jax.jit(straightened(density, AT))


@settings(deadline=None)  # the first example compiles
@given(vectors)
def test_a_density_changes_by_the_jacobian_and_keeps_its_gradient(x: np.ndarray):
    moved, evaluate = straight(x, AT), STRAIGHTENED
    value, gradient = evaluate(moved)
    step = 1e-5 * np.eye(7)
    columns = [(bent(moved + move, AT) - bent(moved - move, AT)) / 2e-5 for move in step]
    assert value == pytest.approx(density(x)[0] + np.linalg.slogdet(columns)[1], rel=1e-4, abs=1e-3)
    ends = [(evaluate(moved + move)[0] - evaluate(moved - move)[0]) / 2e-5 for move in step]
    np.testing.assert_allclose(gradient, ends, rtol=1e-3, atol=1e-3 * np.abs(gradient).max())
