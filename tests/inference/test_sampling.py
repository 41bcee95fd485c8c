"""The sampler on a density written by hand: whitening finds its mode and spread, and draws have its moments."""

from typing import Any

import numpy as np
import pytest
from bayes_cpt.inference.density import Density

from bayes_cpt.errors import DataError
from bayes_cpt.inference.sampling import sample_density, whiten
from bayes_cpt.inference.settings import SamplerSettings

CENTRE, DEVIATION = np.array([2.0, -1.0]), np.array([0.01, 3.0])
START, PLACES = np.zeros(2), {"x": np.arange(2)}


def normal(x: Any) -> tuple[Any, Any]:
    standard = (x - CENTRE) / DEVIATION
    return -0.5 * (standard @ standard), -standard / DEVIATION


def test_whitening_finds_the_mode_and_the_spread():
    centre, scale = whiten(Density(normal, {}, START, PLACES), seed=1)
    np.testing.assert_allclose(centre, CENTRE, atol=1e-3)
    np.testing.assert_allclose(scale @ scale.T, np.diag(DEVIATION**2), rtol=1e-3, atol=1e-6)


def test_draws_have_the_moments_of_the_density():
    settings = SamplerSettings(draws=500, tune=200, chains=4, seed=1, progress=False)
    draws, stats = sample_density(Density(normal, {}, START, PLACES), settings)
    assert draws.shape == (4, 500, 2)
    assert not stats["diverging"].any()
    standard = (draws - CENTRE) / DEVIATION
    # 2,000 draws: standard errors of .02 to .03 if they were independent
    np.testing.assert_allclose(standard.mean(axis=(0, 1)), 0, atol=0.2)
    np.testing.assert_allclose(standard.std(axis=(0, 1)), 1, atol=0.15)


def test_a_density_without_finite_values_is_refused():
    def nowhere(x: Any) -> tuple[Any, Any]:
        return -np.inf + 0 * x.sum(), 0 * x

    with pytest.raises(DataError, match="no finite density at any start"):
        whiten(Density(nowhere, {}, START, PLACES), seed=1)
