"""The Pareto front, against a comparison of all pairs."""

import numpy as np
import pytest
from artificial import FOUR_DRAWS
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.front import _on_front, front
from bayes_cpt.errors import DataError


@given(
    arrays(float, (2, 7, 3), elements=st.integers(0, 4).map(float)),
    arrays(int, 7, elements=st.integers(1, 3)),
)
def test_on_the_front_is_what_no_other_beats(losses: np.ndarray, cost: np.ndarray):
    found = _on_front(losses[0], losses[1], cost)
    for draw in range(3):
        points = np.column_stack([losses[0][:, draw], losses[1][:, draw], cost])
        for run, point in enumerate(points):
            beaten = ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
            assert found[run, draw] == (not beaten)


def test_the_front_of_a_decision():
    table = front(decide(FOUR_DRAWS, {"pt": 0.5, "cpt": 0.5})).set_index("run")
    # in the first draw even has 0, -.6 and meek 0, -.3; in the last one even has .2, -.8 and meek 0, -.9
    assert table["probability_front"].to_dict() == {"bold": 1.0, "even": 0.75, "meek": 0.75}
    assert table["front_of_means"].all()
    assert table["cpt_mean"].to_dict() == pytest.approx({"bold": -1.0, "even": -0.7, "meek": -0.45})
    with pytest.raises(DataError, match="The front names the domain 'books'"):
        front(decide(FOUR_DRAWS, {"pt": 1}), ("pt", "books"))
