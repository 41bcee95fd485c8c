"""Priors on the unconstrained scale: their draws, densities and parameters belong together."""

import numpy as np
import pytest
from scipy import stats

from bayes_cpt.posterior.priors import Entry, grouped, log_prior, parameter_values, prior_draws

ENTRIES = (
    Entry("alpha", "pt", "LogNormal", {"median": 0.4, "sigma": 0.6}),
    Entry("level", "pt", "Normal", {"mu": 3.0, "sigma": 0.5}),
    Entry("scale", "pt", "HalfNormal", {"sigma": 0.02}),
    Entry("share", "", "Beta", {"alpha": 1.0, "beta": 3.0}),
    Entry("power", "pt", "Uniform", {"lower": -1.0, "upper": 2.0}),
)
KNOWN = {
    "alpha": stats.lognorm(0.6, scale=0.4),
    "level": stats.norm(3.0, 0.5),
    "scale": stats.halfnorm(scale=0.02),
    "share": stats.beta(1.0, 3.0),
    "power": stats.uniform(-1.0, 3.0),
}


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return prior_draws(ENTRIES, 4000, np.random.default_rng(1))


@pytest.mark.parametrize("place", range(len(ENTRIES)), ids=[entry.family for entry in ENTRIES])
def test_draws_have_the_distribution_of_the_prior(place: int, drawn: np.ndarray):
    values = parameter_values(ENTRIES, drawn)[ENTRIES[place]]
    assert stats.kstest(values, KNOWN[ENTRIES[place].name].cdf).pvalue > 1e-3


@pytest.mark.parametrize("place", range(len(ENTRIES)), ids=[entry.family for entry in ENTRIES])
def test_the_density_has_the_jacobian_of_the_transform(place: int):
    """Density of the unconstrained value = density of the parameter x slope of the parameter."""
    entry = ENTRIES[place : place + 1]
    x = np.linspace(-2, 2, 9)[:, None]
    values, ends = (parameter_values(entry, x + move)[entry[0]] for move in (0.0, 1e-6))
    expected = KNOWN[entry[0].name].logpdf(values) + np.log((ends - values) / 1e-6)
    np.testing.assert_allclose(log_prior(x, grouped(entry)), expected, atol=1e-5)


def test_labels_name_the_domain_if_there_is_one():
    assert [entry.label for entry in ENTRIES] == ["alpha[pt]", "level[pt]", "scale[pt]", "share", "power[pt]"]
