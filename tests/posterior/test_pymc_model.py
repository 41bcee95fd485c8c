"""The PyMC model of every shipped model file: finite, differentiable, and with priors in units of the data."""

import numpy as np
import pymc as pm
import pytest
from conftest import tiny_curves
from pymc.blocking import DictToArrayBijection, RaveledVars

from bayes_cpt.posterior.pymc_model import build
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model.model_files import model_names, parse_spec, read_spec
from bayes_cpt.statistical_model.observations import observe

OWN = {"L0": 1.5, "A": 0.05, "alpha": 0.5, "C1": 4.0, "C2": 5.0, "B": 0.6, "E": 200.0, "beta": 0.3}
OWN |= {"replay_scale": 0.03, "replay_exponent": 0.5, "replay_slowing": 0.0, "rate_exponent": 0.0, "a1": 0.0}
COEFFICIENTS = {"pt": OWN, "cpt": OWN | {"L0": 1.8, "B": -0.6, "replay_scale": 0.2}}


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    planned = read_curves(tiny_curves(tmp_path_factory.mktemp("model")))
    return simulate(planned, "cpt-replay-eq4", COEFFICIENTS, memory=20.0, noise=0.01, every=10, seed=1)


def suitable(curves: Curves, name: str) -> Curves:
    """Return the part of the curves that a model describes."""
    law = read_spec(name).law
    if not law.knows_checkpoint:
        alone = curves.runs[curves.runs["phase"] == "cpt"].assign(parent=None, parent_step=None)
        lr, losses = (frame[frame["run"].isin(alone.index)] for frame in (curves.lr, curves.losses))
        return curves_from_frames(alone if law.has_replay else alone.assign(replay=0.0), lr, losses)
    if not law.has_shift:
        return select(curves, "phase == 'pt'")
    return curves if law.has_replay else select(curves, "replay == 0")


BUILT: dict[tuple[int, str], pm.Model] = {}
"""Building takes seconds, so a model is built once for all tests of it."""


def built(curves: Curves, name: str) -> pm.Model:
    if (id(curves), name) not in BUILT:
        spec = read_spec(name)
        BUILT[id(curves), name] = build(spec, observe(suitable(curves, name), spec.law))
    return BUILT[id(curves), name]


def density(model: pm.Model):
    """Return the log density and its gradient on a flat vector, and the start."""
    function = model.logp_dlogp_function(ravel_inputs=True, mode="FAST_COMPILE")
    function.set_extra_values({})
    start = DictToArrayBijection.map(model.initial_point())
    return lambda x: function(RaveledVars(x, start.point_map_info)), start.data


@pytest.mark.slow  # builds every model
@pytest.mark.parametrize("name", model_names())
def test_parameters_except_those_of_the_checkpoint_belong_to_domains(curves: Curves, name: str):
    spec, model = read_spec(name), built(curves, name)
    assert {variable.name for variable in model.free_RVs} == set(spec.priors)
    assert model.coords["domain"] == ("pt", "cpt")
    for parameter in spec.priors:
        common = parameter in spec.law.checkpoint_parameters
        assert model.named_vars_to_dims.get(parameter, ()) == (() if common else ("domain",)), parameter
    assert {variable.name for variable in model.observed_RVs} == {"loss_pt", "loss_cpt"}


@pytest.mark.slow  # builds every model
@pytest.mark.parametrize("name", model_names())
def test_the_laws_own_coefficients_are_reported(curves: Curves, name: str):
    reported = {variable.name for variable in built(curves, name).deterministics}
    law = read_spec(name).law
    if law.is_final:
        assert reported >= ({"c", "k"} if name == "data-mixing" else {"E", "A", "B", "C"})
    elif not law.has_shift:
        assert reported >= {"L0", "A", "C"}
    else:
        assert reported >= {"L0", "A", "B", "E", "C2"} | ({"C1"} if law.knows_checkpoint else set())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cpt-replay", "cpt-size-eq7"])
def test_units_of_loss_and_learning_rate_do_not_matter(curves: Curves, name: str):
    """The start scales with the data; the density changes by the Jacobian of the parameters in units of a loss."""
    loss_factor, rate_factor = 10.0, 0.01
    scaled = curves_from_frames(
        curves.runs,
        curves.lr.assign(lr=curves.lr["lr"] * rate_factor),
        curves.losses.assign(loss=curves.losses["loss"] * loss_factor),
    )
    (evaluate, start), (evaluate_scaled, start_scaled) = density(built(curves, name)), density(built(scaled, name))
    in_losses = [prior for prior in read_spec(name).priors.values() if (prior.family, prior.unit) == ("Normal", "loss")]
    fitted = sum(map(len, observe(suitable(curves, name), read_spec(name).law).losses.values()))
    densities = fitted + 2 * len(in_losses)
    value, value_scaled = float(evaluate(start)[0]), float(evaluate_scaled(start_scaled)[0])
    assert value_scaled + densities * np.log(loss_factor) == pytest.approx(value, rel=1e-6)


def test_memories_scale_with_the_steps(curves: Curves):
    longer = curves_from_frames(
        curves.runs.assign(parent_step=curves.runs["parent_step"] * 30),
        curves.lr.assign(step=curves.lr["step"].where(curves.lr["step"] == 1, curves.lr["step"] * 30)),
        curves.losses.assign(step=curves.losses["step"] * 30),
    )
    short, long = built(curves, "cpt-replay").initial_point(), built(longer, "cpt-replay").initial_point()
    np.testing.assert_allclose(long["memory_log__"] - short["memory_log__"], np.log(30))


def test_a_prior_may_differ_by_domain(curves: Curves):
    spec = read_spec("cpt-replay")
    pt, cpt = build(spec, observe(curves, spec.law)).initial_point()["replay_scale_log__"]
    assert cpt - pt == pytest.approx(np.log(0.2 / 0.03))


@pytest.mark.slow
def test_a_model_without_discrepancy(curves: Curves):
    head, *priors = read_spec("cpt-replay").text.split("[priors.")
    kept = [text for text in priors if not text.split("]")[0].endswith("_scale") or text.startswith("replay_scale")]
    spec = parse_spec("plain", "[priors.".join([head, *kept]))
    assert spec.components == ()
    evaluate, start = density(build(spec, observe(curves, spec.law)))
    value, gradient = evaluate(start)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_one_domain_alone_has_the_density_it_has_among_two(curves: Curves):
    spec = read_spec("cpt-replay")
    models = [build(spec, observe(curves, spec.law, domains)) for domains in (["pt"], ["cpt"], ["pt", "cpt"])]
    # term by term: FAST_COMPILE cannot add as many terms as two domains have
    terms = [model.compile_logp(sum=False, mode="FAST_COMPILE")(model.initial_point()) for model in models]
    values = [sum(float(np.sum(term)) for term in of_model) for of_model in terms]
    assert values[0] + values[1] == pytest.approx(values[2], rel=1e-9)
