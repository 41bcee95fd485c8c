"""Samplers give draws with the moments of a density, stop when they should, and say how far they are."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt._support.progress import Status, quiet
from bayes_cpt.errors import DataError
from bayes_cpt.inference.sampling import SAMPLERS, Block, sample_blocks
from bayes_cpt.inference.settings import SAMPLER_NAMES, SamplerSettings
from bayes_cpt.posterior.density import Density
from bayes_cpt.posterior.priors import Entry

MEAN, DEVIATION = np.array([2.0, -1.0]), np.array([0.01, 3.0])
ENTRIES = tuple(Entry(name, "", "Normal", {"mu": 0.0, "sigma": 5.0}) for name in "ab")
DATA: dict[str, Any] = {"losses": {"pt": {"count": np.ones(2)}}}
SHORT = SamplerSettings(draws=500, tune=300, progress=False)


def block(function: Callable[..., Any]) -> Block:
    return Block(Density(function, DATA, ENTRIES), lambda x: x)


def normal(x: Any, _data: Any) -> Any:
    return -0.5 * (((x - MEAN) / DEVIATION) ** 2).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_draws_have_the_moments_of_the_density(name: str):
    [drawn, other] = sample_blocks([block(normal)] * 2, replace(SHORT, sampler=name), quiet)
    assert drawn.x.shape == (4, 500, 2)
    assert not drawn.diverging.any()
    standard = (drawn.x - MEAN) / DEVIATION
    # 2,000 draws: standard errors of .02 to .03 if they were independent
    np.testing.assert_allclose(standard.mean(axis=(0, 1)), 0, atol=0.2)
    np.testing.assert_allclose(standard.std(axis=(0, 1)), 1, atol=0.15)
    np.testing.assert_array_equal(other.x, drawn.x)  # the same seed


def test_a_density_without_finite_values_is_refused():
    with pytest.raises(DataError, match="no finite density at any start"):
        sample_blocks([block(lambda x, _data: -jnp.inf + 0 * x.sum())], SHORT, quiet)


def test_progress_says_what_is_done():
    seen: list[Status] = []
    sample_blocks([block(normal)], SHORT, seen.append)
    assert {status.task for status in seen} == {"fit"}
    assert any("adapting" in status.note for status in seen)


def test_a_limit_of_time_ends_a_fit_that_does_not_converge():
    """Two modes with walls between them: populations disagree for ever."""

    def walls(x: Any, _data: Any) -> Any:
        return -0.5 * ((jnp.abs(x[0]) - 40) ** 2 * 100 + x[1] ** 2)

    [drawn] = sample_blocks([block(walls)], replace(SHORT, seconds=1.0), quiet)
    assert np.isfinite(drawn.x).all()


def test_an_interrupt_stops_the_samplers():
    def stop(_status: Status) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_blocks([block(normal)] * 2, SHORT, stop)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(DataError, match=r"unknown sampler 'nutz' \(did you mean 'nuts'\?\): use tempered or nuts"):
        bc.SamplerSettings(sampler="nutz")
    assert tuple(SAMPLERS) == SAMPLER_NAMES
