"""Whether draws can be trusted: chains that agree, disagree, are short or diverge."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

from bayes_cpt.inference.diagnostics import convergence, diagnose, modes_in_words
from bayes_cpt.inference.settings import SamplerSettings


def chains(*shifts: float, count: int = 2000, diverging: int = 0) -> xr.DataTree:
    """Return chains of independent normal draws, and some divergences in each."""
    random = np.random.default_rng(1)
    draws = np.array([shift + random.standard_normal(count) for shift in shifts])
    divergent = np.tile(np.arange(count) < diverging, (len(shifts), 1))
    return az.from_dict({"posterior": {"alpha": draws}, "sample_stats": {"diverging": divergent}})


def test_chains_that_agree_have_converged():
    converged, verdict = diagnose(chains(0, 0), [], SamplerSettings())
    assert converged
    assert verdict.startswith("converged")


@pytest.mark.parametrize(
    ("tree", "fault"),
    [
        (chains(0, 3), "chains disagree, most on alpha"),
        (chains(0, 0, count=60), "too few effective draws, fewest of alpha"),
        (chains(0, 0, diverging=80), "the sampler diverged"),
    ],
    ids=["disagree", "few", "diverged"],
)
def test_chains_that_cannot_be_trusted_are_called_so(tree: xr.DataTree, fault: str):
    converged, verdict = diagnose(tree, [], SamplerSettings())
    assert not converged
    assert verdict.startswith("NOT CONVERGED")
    assert fault in verdict


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (SamplerSettings(), "give it more time (--seconds)"),
        (SamplerSettings(sampler="nuts"), "use the default sampler"),
        (SamplerSettings(draws=50), "ask for more draws (4 x 50 are too few for an ESS of 400)"),
    ],
    ids=["tempered", "nuts", "few draws"],
)
def test_a_fit_that_did_not_converge_says_what_to_do(settings: SamplerSettings, advice: str):
    assert advice in diagnose(chains(0, 3), [], settings)[1]


def test_final_losses_must_have_converged_too():
    random = np.random.default_rng(1)
    final = convergence(np.array([shift + random.standard_normal((500, 1)) for shift in (0, 3)]))
    converged, verdict = diagnose(chains(0, 0), [final], SamplerSettings())
    assert not converged
    assert "the final losses" in verdict


def test_several_modes_are_named_with_their_shares():
    assert modes_in_words([np.ones(1), np.array([0.0, 1.0])]) == ""
    assert "shares of 80 %, 20 % of the draws" in modes_in_words([np.ones(1), np.array([0.2, 0.8])])


@pytest.mark.parametrize("seed", range(5))
def test_a_sampler_stops_by_what_the_verdict_says(seed: int):
    """Slow chains: the smallest tail ESS is at other quantiles each time, and the summary's must not be below it."""
    noise = np.random.default_rng(seed).standard_normal((4, 1000))
    draws = np.empty_like(noise)
    draws[:, 0] = noise[:, 0]
    for place in range(1, 1000):
        draws[:, place] = 0.8 * draws[:, place - 1] + 0.6 * noise[:, place]
    found = convergence(draws[..., None])
    table = az.summary(az.from_dict({"posterior": {"alpha": draws}}), kind="diagnostics", round_to="none")
    assert found.tail[0] <= float(table.loc["alpha", "ess_tail"]) + 1e-6
    assert found.bulk[0] == pytest.approx(float(table.loc["alpha", "ess_bulk"]))
