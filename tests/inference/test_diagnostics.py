"""Whether draws can be trusted: chains that agree, disagree, are short or diverge."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

from bayes_cpt.inference.diagnostics import diagnose


def chains(*shifts: float, count: int = 500, diverging: int = 0) -> xr.DataTree:
    """Return chains of independent normal draws, and some divergences in each."""
    random = np.random.default_rng(1)
    draws = np.array([shift + random.standard_normal(count) for shift in shifts])
    divergent = np.tile(np.arange(count) < diverging, (len(shifts), 1))
    return az.from_dict({"posterior": {"alpha": draws}, "sample_stats": {"diverging": divergent}})


def test_chains_that_agree_have_converged():
    converged, verdict = diagnose(chains(0, 0))
    assert converged
    assert verdict.startswith("converged")


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (chains(0, 3), "chains disagree on alpha"),
        (chains(0, 0, count=60), "too few effective draws of alpha"),
        (chains(0, 0, diverging=20), "the sampler diverged"),
    ],
    ids=["disagree", "few", "diverged"],
)
def test_chains_that_cannot_be_trusted_are_called_so(tree: xr.DataTree, fault: str):
    converged, verdict = diagnose(tree)
    assert not converged
    assert verdict.startswith("NOT CONVERGED")
    assert fault in verdict
