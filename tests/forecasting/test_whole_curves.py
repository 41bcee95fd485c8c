"""Bands of whole curves: the share of curves inside is the level, however points of a curve depend on each other."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from bayes_cpt.forecasting.whole_curves import whole_curve_interval


def draws_of(common: float, seed: int, steps: int = 25) -> xr.DataArray:
    """Return curves with a common part that all points share, and a part of each point."""
    random = np.random.default_rng(seed)
    values = common * random.standard_normal((4, 250, 1)) + (1 - common) * random.standard_normal((4, 250, steps))
    return xr.DataArray(3 + values, dims=("chain", "draw", "step"), coords={"step": np.arange(steps)})


def inside(loss: xr.DataArray, band: xr.Dataset) -> float:
    # the ends of the band are draws themselves, up to rounding
    within = (loss >= band["lower"] - 1e-9) & (loss <= band["upper"] + 1e-9)
    return float(within.all("step").mean())


@settings(deadline=None, max_examples=min(40, settings().max_examples))
@given(common=st.floats(0, 1), level=st.sampled_from([0.5, 0.8, 0.9]), seed=st.integers(0, 99))
def test_the_band_has_its_share_of_whole_curves(common: float, level: float, seed: int):
    loss = draws_of(common, seed)
    band = whole_curve_interval(loss, level)
    assert inside(loss, band) == pytest.approx(level, abs=0.01)
    points = loss.quantile([(1 - level) / 2, (1 + level) / 2], ["chain", "draw"])
    assert (band["lower"] <= points[0] + 0.02).all()  # points that all depend on each other: the same, up to rounding
    assert (band["upper"] >= points[1] - 0.02).all()


def test_new_curves_lie_inside_as_often():
    assert inside(draws_of(0.5, 2), whole_curve_interval(draws_of(0.5, 1), 0.9)) == pytest.approx(0.9, abs=0.05)


def test_it_is_wider_the_less_points_depend_on_each_other():
    factors = [whole_curve_interval(draws_of(common, 1), 0.9).attrs["factor"] for common in (1.0, 0.5, 0.0)]
    assert factors[0] == pytest.approx(1, abs=0.03)
    assert factors[0] < factors[1] < factors[2]


def test_steps_that_are_not_forecast_or_known_do_not_matter():
    loss = draws_of(0.5, 1)
    known = loss.where(loss["step"] > 0, 3.0)
    padded = known.reindex(step=np.arange(40))
    band = whole_curve_interval(padded, 0.9)
    assert band["step"].to_numpy().tolist() == list(range(25))
    assert float(band["upper"][0] - band["lower"][0]) == 0
    assert inside(known, band) == pytest.approx(0.9, abs=0.01)
