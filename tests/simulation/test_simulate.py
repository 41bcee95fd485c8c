"""A law's curve of one schedule."""

import pandas as pd
import pytest
from conftest import scheduled

import bayes_cpt as bc
from bayes_cpt.laws.memory_kernels import EXPONENTIAL
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import law_curve, simulate

SPEED = {"replay_slowing": 1.5, "rate_exponent": 0.3, "a1": 0.1}
OWN_SHARE = {"replay_scale": 0.05, "replay_exponent": 0.5, **SPEED}
REPLAY_FORMS = {
    "cpt-eq4": {},
    "cpt-replay-eq4": OWN_SHARE,
    "cpt-power": {**OWN_SHARE, "full_area": 0.3, "zeta1": 1.1, "zeta2": 0.9},
    "cpt-replay-eq8": {"a1": 0.1, "a2": 0.3},
}


@pytest.mark.parametrize("name", REPLAY_FORMS)
def test_the_curve_of_a_schedule_is_the_simulation_without_noise(name: str):
    """The peak is below that of pre-training, with replay, so every feature of the laws has an effect."""
    before, schedule = bc.wsd(2e-3, 3000, 100, final=0.3), bc.cosine(1e-3, 2000, 100)
    coefficients = {domain: {**own, **REPLAY_FORMS[name]} for domain, own in KNOWLEDGE_PILE.items()}
    runs = pd.DataFrame({"run": ["a", "b"], "phase": ["pt", "cpt"], "parent": [None, "a"], "parent_step": [None, 3000]})
    lr = pd.concat([scheduled("a", before), scheduled("b", schedule)])
    planned = bc.curves_from_frames(runs.assign(replay=[None, 0.25]), lr)
    simulated = simulate(planned, name, coefficients, memory=150.0, noise=0.0, every=50, seed=1).losses
    expected = simulated[simulated["run"] == "b"].pivot_table(index="step", columns="domain", values="loss")
    found = law_curve(name, coefficients, before, schedule, replay=0.25, memory=150.0, every=50)
    for domain in coefficients:
        assert found[domain].loss == pytest.approx(expected[domain].to_numpy(), abs=1e-4)


def test_every_suitable_law_is_tested():
    served = (law for law in LAWS.values() if law.memory_kernel is EXPONENTIAL and not law.has_size)
    assert set(REPLAY_FORMS) == {law.name for law in served if law.has_shift and law.knows_checkpoint}
