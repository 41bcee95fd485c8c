"""Models that are sent: compiled once by the process that receives them, and refused if it would compile another."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import bayes_cpt as bc
from bayes_cpt.errors import ClusterError
from bayes_cpt.jobs import sendable_model
from bayes_cpt.jobs.sendable_model import Recipe, SendableModel, sendable
from bayes_cpt.runs.curve_folder import digest


@pytest.fixture
def recipe(tiny: bc.Curves) -> Recipe:
    spec = bc.read_spec("cpt")
    law = tuple(spec.law.fingerprint())
    return Recipe(tiny, digest(tiny), "cpt", spec.text, law, ("pt",), (), sendable_model.version("bayes-cpt"))


def sent(recipe: Recipe) -> SendableModel:
    return pickle.loads(pickle.dumps(SendableModel(None, recipe)))


@pytest.fixture(autouse=True)
def _nothing_received(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sendable_model, "_RECEIVED", {})


def test_equal_models_are_received_as_one_and_others_are_not(recipe: Recipe, tiny: bc.Curves):
    changed = tiny.with_losses(tiny.losses.assign(loss=3.0))
    for equal in (recipe, recipe._replace(fingerprint=(float("nan"), 1.0))):
        assert sent(equal) is sent(equal)
    assert sent(recipe._replace(domains=("pt", "cpt"))) is not sent(recipe)
    assert sent(recipe._replace(curves=changed, data=digest(changed))) is not sent(recipe)


def test_a_process_that_receives_many_models_forgets_the_oldest(recipe: Recipe):
    for place in range(3 * sendable_model.MOST):
        sent(recipe._replace(name=str(place)))
    assert len(sendable_model._RECEIVED) == sendable_model.MOST  # pyright: ignore[reportPrivateUsage]


def test_a_law_that_the_worker_does_not_know_is_said_in_a_sentence(recipe: Recipe):
    law = replace(bc.LAWS["cpt"], name="mine")
    bc.LAWS.register("mine", law)
    mine = sent(recipe._replace(name="own", text=recipe.text.replace('law = "cpt"', 'law = "mine"')))
    bc.LAWS.unregister("mine")
    with pytest.raises(ClusterError, match=r"cannot read model 'own': register laws .* --preload .*unknown law 'mine'"):
        _ = mine.prepared


def test_another_definition_of_a_law_or_another_version_is_refused(recipe: Recipe):
    other = tuple(2 * number for number in recipe.fingerprint)
    with pytest.raises(ClusterError, match="a worker has another definition of law 'cpt'"):
        _ = sent(recipe._replace(fingerprint=other)).prepared
    with pytest.raises(ClusterError, match=r"and this process 0\.0\.1: install the same version"):
        _ = sent(recipe._replace(version="0.0.1")).prepared


@pytest.mark.slow
def test_a_received_model_is_the_one_that_was_sent(prepared_cpt: bc.Prepared, simulated: bc.Curves):
    model = sendable(prepared_cpt, simulated, ["pt"], ())
    assert model.prepared is prepared_cpt
    received = pickle.loads(pickle.dumps(model)).prepared
    [ours], [theirs] = prepared_cpt.densities, received.densities
    point = ours.prior_draws(1, np.random.default_rng(1))
    for here, there in zip(ours.at(point), theirs.at(point), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9)
    assert received.observations.domains == prepared_cpt.observations.domains
