"""Every law: one formula for NumPy, PyTensor and xarray; the paper's signs and limits; conversions of coefficients."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytensor.tensor as pt
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytensor.gradient import grad

from bayes_cpt.errors import SpecError
from bayes_cpt.laws.features import FEATURES, FittedRange
from bayes_cpt.laws.law import DOMAINS, Law, Term, Terms
from bayes_cpt.laws.memory_kernels import RATE_WEIGHTED
from bayes_cpt.laws.replay import OWN_SHARE_SHIFT, left_of_shift, reached_of_shift
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.laws.terms import distribution_shift

type FloatArray = NDArray[np.float64]

CASES = [(law, domain) for law in LAWS.values() for domain in law.domains]
CURVE_CASES = [(law, domain) for law, domain in CASES if not law.is_final]
CPT_CASES = [(law, domain) for law, domain in CURVE_CASES if law.has_shift]
REPLAY_CASES = [(law, domain) for law, domain in CURVE_CASES if law.has_replay]
FINAL_CASES = [(law, domain) for law, domain in CASES if law.is_final]


def identify(value: Any) -> str:
    return value.name if isinstance(value, Law) else value


relaxed = settings(deadline=None, max_examples=min(50, settings().max_examples))
every_law = pytest.mark.parametrize(("law", "domain"), CASES, ids=identify)
every_curve_law = pytest.mark.parametrize(("law", "domain"), CURVE_CASES, ids=identify)
every_final_law = pytest.mark.parametrize(("law", "domain"), FINAL_CASES, ids=identify)
every_cpt_law = pytest.mark.parametrize(("law", "domain"), CPT_CASES, ids=identify)
every_replay_law = pytest.mark.parametrize(("law", "domain"), REPLAY_CASES, ids=identify)

PARAMETERS: Mapping[str, st.SearchStrategy[float]] = {
    "memory": st.floats(10, 5000),
    "loss_at_reference": st.floats(1, 4),
    "decline_over_decade": st.floats(0.05, 0.9),
    "decline_over_doubling": st.floats(0.01, 0.2),
    "alpha": st.floats(0.1, 1.5),
    "annealing_drop": st.floats(0.01, 0.3),
    "annealing_ratio": st.floats(0.5, 2),
    "shift_at_reference": st.floats(0.01, 2),
    "shift_speed": st.floats(0.5, 1e4),
    "beta": st.floats(0.001, 1),
    "replay_scale": st.floats(0.01, 1),
    "replay_exponent": st.floats(0.1, 2),
    "replay_slowing": st.floats(0, 2),  # below 0, replay would speed the shift up, and more of it could mean more shift
    "rate_exponent": st.floats(-0.5, 0.5),
    "replay_weight_steepest": st.floats(0.1, 3),
    "replay_weight_steep": st.floats(0.1, 3),
    "replay_weight_even": st.floats(0.1, 3),
    "replay_weight_late": st.floats(0.1, 3),
    "zeta1": st.floats(0.7, 1.4),
    "zeta2": st.floats(0.7, 1.4),
    "size_term": st.floats(0.1, 1),
    "g1": st.floats(-0.2, 0.3),
    "g2": st.floats(-0.2, 0.3),
    "g3": st.floats(0.1, 0.4),
    "final_loss": st.floats(1, 4),
    "length_term": st.floats(0.05, 0.5),
    "share_term": st.floats(0.05, 1),
    "a": st.floats(0.1, 0.5),
    "h": st.floats(0.1, 1),
    "b": st.floats(0.1, 0.6),
    "e": st.floats(0.01, 0.5),
    "g": st.floats(0.2, 1),
    "t": st.floats(0.5, 20),
    "a1": st.floats(-0.5, 0.5),
    "a2": st.floats(0.5, 6),
    "checkpoint_forward_area": st.floats(0.5, 20),
    "loss_potential": st.floats(0, 1),
}


def names(law: Law) -> tuple[str, ...]:
    return (*law.parameters, *law.checkpoint_parameters)


RANGE = FittedRange(
    largest_forward_area=10.0,
    largest_forward_area_cpt=4.0,
    largest_learning_rate=2e-4,
    largest_model_size=500.0,
    longest_cpt=100.0,
)
SIGN = {name: domain.shift_sign for name, domain in DOMAINS.items()}


def parameters_of(law: Law) -> st.SearchStrategy[dict[str, float]]:
    return st.fixed_dictionaries({name: PARAMETERS[name] for name in names(law)})


def some(law: Law, seed: int, shape: tuple[int, ...] = ()) -> dict[str, FloatArray]:
    """Return parameters well inside their ranges."""
    middle = {"memory": 900, "shift_speed": 200, "checkpoint_forward_area": 6, "loss_at_reference": 2.5, "a2": 3}
    generator = np.random.default_rng(seed)
    return {name: middle.get(name, 0.3) * generator.uniform(0.8, 1.2, shape) for name in names(law)}


def features(points: int = 5, **changes: Any) -> dict[str, Any]:
    """Return features of a run from a PT of forward area 6, replay 0.3."""
    share = np.linspace(0, 1, points)
    return {
        "progress_pt": np.full(points, 6.0),
        "progress_cpt": 4 * share,
        "forward_area_cpt": 4 * share,
        "annealing_area_pt": np.full(points, 0.15),
        "warmup_area_pt": np.zeros(points),
        "annealing_area_cpt": 0.2 * share - 0.1,
        "jump_area_cpt": 0.2 * share,
        "replay_ratio": np.full(points, 0.3),
        "peak_learning_rate_cpt": np.linspace(1, 0.4, points),
        "model_size": np.full(points, 500.0),
        "length_cpt": np.linspace(1, 100, points),
    } | changes


def terms_of(law: Law, domain: str, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> Terms:
    return law.predict(domain, given, law.coefficients(RANGE, domain, **parameters))


# The registry --------------------------------------------------------------------------------------------------------


@every_law
def test_the_parameters_are_those_of_the_signatures(law: Law, domain: str):
    assert len(set(names(law))) == len(names(law))
    for missing in names(law):
        fewer = {name: 1.0 for name in names(law) if name != missing}
        with pytest.raises(TypeError, match=missing):
            terms_of(law, domain, fewer, features())
    with pytest.raises(TypeError, match="misspelt"):
        terms_of(law, domain, dict.fromkeys((*names(law), "misspelt"), 1.0), features())


@every_law
def test_the_features_are_those_that_the_terms_read(law: Law, domain: str):
    coefficients = law.coefficients(RANGE, domain, **some(law, 1))
    for missing in law.features:
        fewer = {name: value for name, value in features().items() if name in law.features and name != missing}
        with pytest.raises(TypeError, match=missing):
            law.predict(domain, fewer, coefficients)


def test_an_unknown_law_is_refused_with_a_hint():
    with pytest.raises(
        SpecError,
        match=r"'cpt-reply' \(did you mean 'cpt-replay'\?\): the laws are annealing, annealing-eq1",
    ):
        LAWS["cpt-reply"]


@every_law
def test_a_law_reads_features_that_a_design_has_and_samples_what_is_no_feature(law: Law, domain: str):
    assert domain in law.domains
    assert set(law.features) <= set(FEATURES) - {"own_share"}
    assert not set(law.sampled) & (set(FEATURES) | set(RANGE.to_dict()))


def test_laws_state_which_data_they_describe():
    def those(**answers: bool) -> set[str]:
        return {law.name for law in LAWS.values() if all(getattr(law, key) == value for key, value in answers.items())}

    assert those(has_shift=False) == {"annealing", "annealing-eq1", "multi-power"}
    assert those(has_shift=True, has_replay=False) == {"cpt", "cpt-eq4", "open-cpt"}
    assert those(has_size=True) == {"cpt-size", "cpt-size-eq7", "open-size", "d-cpt"}
    assert those(has_length=False) == {"data-mixing"}
    assert those(is_final=True) == {"d-cpt", "data-mixing"}
    assert those(knows_checkpoint=False) == {name for name in LAWS if name.startswith("open-")}


def test_a_term_with_unnamed_arguments_is_refused():
    def passed_on(progress_pt: Any, **rest: Any) -> Any:
        return progress_pt + sum(rest.values())

    with pytest.raises(SpecError, match="'rest' of passed_on names no feature and no parameter"):
        Law("mine", "", base=Term(passed_on))
    with pytest.raises(SpecError, match="a shift on 'code': the domains are pt, cpt"):
        Law("mine", "", base=LAWS["cpt"].base, shift={"code": LAWS["cpt"].shift["pt"]})


def test_a_fingerprint_changes_with_the_definition_and_only_then():
    law = LAWS["cpt-replay"]
    assert law.fingerprint() == replace(law, name="another", equation="the same").fingerprint()
    changed = {
        "base": LAWS["cpt-size"].base,
        "annealing": Term(lambda annealing_area_cpt, C2, a1: -1.001 * C2 * annealing_area_cpt + 0 * a1),
        "shift": {**OWN_SHARE_SHIFT, "cpt": OWN_SHARE_SHIFT["pt"]},
        "memory_kernel": RATE_WEIGHTED,
        "history": LAWS["open-checkpoint"].history,
    }
    for part, other in changed.items():
        assert replace(law, **{part: other}).fingerprint() != law.fingerprint(), part
    prints = [law.fingerprint() for law in LAWS.values()]
    assert np.isfinite(np.concatenate(prints)).all()
    assert len(set(map(tuple, prints))) == len(LAWS)


def test_a_range_is_kept_by_name():
    fields = replace(RANGE, peaks_pt=(0.5, 1.0)).to_dict()
    np.testing.assert_equal(FittedRange.from_dict(json.loads(json.dumps(fields))).to_dict(), fields)
    with pytest.raises(TypeError, match="forward_area"):
        FittedRange.from_dict({"forward_area": 1.0})


# One formula for three libraries -------------------------------------------------------------------------------------


def evaluate(symbol: Any, given: Mapping[Any, Any]) -> FloatArray:
    return np.asarray(symbol.eval(given, mode="FAST_COMPILE", on_unused_input="ignore"))


@every_law
def test_numpy_pytensor_and_xarray_agree_with_leading_dimensions(law: Law, domain: str):
    draws = some(law, 2, shape=(2, 3))
    expected = terms_of(law, domain, {name: value[..., None] for name, value in draws.items()}, features()).loss

    symbols = {name: pt.tensor(name, dtype="float64", shape=(2, 3, 1)) for name in draws}
    given = {symbols[name]: value[..., None] for name, value in draws.items()}
    loss = evaluate(terms_of(law, domain, symbols, features()).loss, given)
    np.testing.assert_allclose(loss, expected, rtol=1e-14)

    labelled = {name: xr.DataArray(value, dims=("chain", "draw")) for name, value in draws.items()}
    given = {name: xr.DataArray(value, dims="step") for name, value in features().items()}
    loss = terms_of(law, domain, labelled, given).loss.transpose("chain", "draw", "step")
    np.testing.assert_allclose(loss.to_numpy(), expected, rtol=1e-14)
    assert expected.shape == (2, 3, 5)


@pytest.mark.slow  # a gradient graph per law and domain
@every_law
def test_gradients_are_finite_at_the_transfer_point_and_at_both_ends_of_replay(law: Law, domain: str):
    symbols = {name: pt.dscalar(name) for name in names(law)}
    loss = terms_of(law, domain, symbols, features(3, replay_ratio=np.array([0.0, 0.5, 1.0]))).loss.sum()
    given = {symbols[name]: value for name, value in some(law, 3).items()}
    gradients = dict(zip(symbols, evaluate(pt.stack(grad(loss, list(symbols.values()))), given), strict=True))
    assert np.isfinite(list(gradients.values())).all()
    level = "final_loss" if law.is_final else "loss_at_reference"
    if law.knows_checkpoint:
        assert gradients[level] == pytest.approx(3)  # 1 a point
    else:  # the decline is a share of it
        assert 0 < gradients[level] < 3


# The paper's signs and limits ----------------------------------------------------------------------------------------


@every_cpt_law
@relaxed
@given(data=st.data())
def test_there_is_no_shift_at_the_transfer_point(law: Law, domain: str, data: st.DataObject):
    terms = terms_of(law, domain, data.draw(parameters_of(law)), features(forward_area_cpt=0.0))
    np.testing.assert_array_equal(terms.shift, 0)


@every_replay_law
@relaxed
@given(data=st.data())
def test_there_is_no_shift_at_full_replay(law: Law, domain: str, data: st.DataObject):
    terms = terms_of(law, domain, data.draw(parameters_of(law)), features(replay_ratio=1.0))
    np.testing.assert_allclose(terms.shift, 0, atol=1e-14)


@every_cpt_law
@relaxed
@given(data=st.data())
def test_the_shift_grows_on_pt_and_falls_on_cpt_with_more_training(law: Law, domain: str, data: st.DataObject):
    shift = terms_of(law, domain, data.draw(parameters_of(law)), features(9)).shift * SIGN[domain]
    assert (np.diff(shift) > 0).all()


@every_replay_law
@relaxed
@given(data=st.data())
def test_more_replay_means_less_shift(law: Law, domain: str, data: st.DataObject):
    ratios = np.linspace(0, 1, 9)
    given = features(9, forward_area_cpt=4.0, replay_ratio=ratios, peak_learning_rate_cpt=1.0)
    shift = terms_of(law, domain, data.draw(parameters_of(law)), given).shift * SIGN[domain]
    assert (np.diff(shift) < 0).all()


@every_curve_law
def test_more_training_and_more_annealing_lower_the_loss(law: Law, domain: str):
    more = {"progress_pt": np.linspace(2, 9, 5), "progress_cpt": np.linspace(1, 9, 5)}
    assert (np.diff(terms_of(law, domain, some(law, 4), features() | more).base) < 0).all()
    annealed = "annealing_area_cpt" if law.has_shift else "annealing_area_pt"
    given = features() | {annealed: np.linspace(-0.1, 0.2, 5), "jump_area_cpt": 0.1}
    assert (np.diff(terms_of(law, domain, some(law, 4), given).annealing) < 0).all()


@relaxed
@given(slope=st.floats(0.01, 1), E=st.floats(0.1, 1e4), forward_area=st.floats(0, 20))
def test_the_shift_tends_to_a_logarithm_as_beta_goes_to_0(slope: float, E: float, forward_area: float):
    near = distribution_shift(forward_area, slope / 1e-8, E, 1e-8)
    assert near == pytest.approx(slope * np.log1p(E * forward_area), rel=1e-6)


@every_cpt_law
@pytest.mark.parametrize("sign", [-1, 1])
def test_sampled_parameters_pass_smoothly_through_beta_0(law: Law, domain: str, sign: int):
    parameters = some(law, 5)
    near, limit = (terms_of(law, domain, parameters | {"beta": beta}, features()) for beta in (sign * 1e-6, 1e-9))
    np.testing.assert_allclose(near.shift, limit.shift, rtol=1e-5)


@relaxed
@given(share=st.floats(0, 1), scale=st.floats(0.01, 1), exponent=st.floats(0.1, 2))
def test_the_remaining_shift_has_the_documented_form(share: float, scale: float, exponent: float):
    """(f(s) - f(1)) / (1 - f(1)), f(s) = (1 + s / scale)^-exponent; of scale and exponent 1 it is (1 - s) / (1 + s)."""
    f = [(1 + at / scale) ** -exponent for at in (share, 1.0)]
    assert left_of_shift(share, scale, exponent) == pytest.approx((f[0] - f[1]) / (1 - f[1]), abs=1e-12)
    assert left_of_shift(share, 1.0, 1.0) == pytest.approx((1 - share) / (1 + share), abs=1e-12)
    assert left_of_shift(0.0, scale, exponent) == 1
    assert left_of_shift(1.0, scale, exponent) == 0


def test_a_tiny_remaining_shift_keeps_its_digits():
    """A small scale and a large exponent: f(1) is far below the spacing of numbers near 1."""
    assert left_of_shift(0.5, 1e-3, 8.0) == pytest.approx(501.0**-8 - 1001.0**-8, rel=1e-9)


@pytest.mark.parametrize(("law", "domain"), [case for case in REPLAY_CASES if "a1" in case[0].parameters], ids=identify)
def test_annealing_grows_with_the_domains_own_share_as_in_eq_8(law: Law, domain: str):
    parameters = some(law, 3) | {"a1": 0.3, "loss_potential": 0.0}
    # the annealing of pre-training does not depend on the share
    given = features(3, replay_ratio=np.array([0.0, 0.5, 1.0]), annealing_area_pt=0.0, annealing_area_cpt=0.1)
    annealing = terms_of(law, domain, {name: parameters[name] for name in names(law)}, given).annealing
    share = {"pt": np.array([0.0, 0.5, 1.0]), "cpt": np.array([1.0, 0.5, 0.0])}[domain]
    np.testing.assert_allclose(annealing / annealing[share == 0], np.exp(0.3 * share), rtol=1e-9)


@pytest.mark.parametrize(
    ("law", "domain"), [case for case in REPLAY_CASES if "replay_slowing" in case[0].parameters], ids=identify
)
def test_replay_slows_the_gain_by_the_share_of_new_data(law: Law, domain: str):
    """Slowed by the share of new data, a run at half replay has the shift of an unslowed one at half the area."""
    parameters = some(law, 3) | {"rate_exponent": 0.0}
    area = np.linspace(0.5, 3, 6)

    def shift(replay_slowing: float, forward_area_cpt: FloatArray) -> FloatArray:
        given = features(6, forward_area_cpt=forward_area_cpt, replay_ratio=0.5)
        return terms_of(law, domain, parameters | {"replay_slowing": replay_slowing}, given).shift

    np.testing.assert_allclose(shift(1.0, area), shift(0.0, 0.5005 * area), rtol=1e-9)


@relaxed
@given(weights=st.tuples(*[st.floats(1e-3, 1e3)] * 4))
def test_the_monotone_form_rises_from_0_to_1(weights: tuple[float, ...]):
    reached = reached_of_shift(np.linspace(0, 1, 21), *weights)
    assert (np.diff(reached) > 0).all()
    np.testing.assert_allclose(reached[[0, -1]], [0, 1], atol=1e-12)


@relaxed
@given(size=st.floats(1, 1e5))
def test_a_larger_model_is_better_by_the_size_term_alone(size: float):
    """Eq. 7: the base depends on the size only by F N^-g3, and the size term is its value at the reference."""
    own = some(LAWS["cpt-size"], 8)
    base, at_reference = (
        terms_of(LAWS["cpt-size"], "pt", own, features(model_size=value)).base[0]
        for value in (size, RANGE.largest_model_size)
    )
    factor = (size / RANGE.largest_model_size) ** -own["g3"]
    assert base - at_reference == pytest.approx(own["size_term"] * (factor - 1), abs=1e-9)


# Conversions of coefficients -----------------------------------------------------------------------------------------


@every_curve_law
@relaxed
@given(data=st.data())
def test_the_base_at_the_reference_is_the_loss_there(law: Law, domain: str, data: st.DataObject):
    parameters = data.draw(parameters_of(law))
    coefficients = law.coefficients(RANGE, domain, **parameters)
    forward_area = RANGE.largest_forward_area if law.knows_checkpoint else parameters["checkpoint_forward_area"]

    def base(share: float) -> Any:
        own = coefficients
        if not law.knows_checkpoint:
            own = {**coefficients, "checkpoint_forward_area": share * forward_area}
        given = features(progress_pt=share * forward_area, progress_cpt=0.0, forward_area_cpt=0.0)
        return law.predict(domain, given, own).base

    np.testing.assert_allclose(base(1.0), parameters["loss_at_reference"], rtol=1e-9)
    if law.knows_checkpoint:
        np.testing.assert_allclose(base(0.1) - base(1.0), parameters["decline_over_decade"], rtol=1e-7)
    else:  # pilots cover the decline after the checkpoint
        share = parameters["decline_over_doubling"]
        np.testing.assert_allclose(1 - base(2.0) / base(1.0), share, rtol=1e-7)


@every_cpt_law
@relaxed
@given(data=st.data())
def test_the_shift_at_the_reference_without_replay_is_the_one_sampled(law: Law, domain: str, data: st.DataObject):
    parameters = data.draw(parameters_of(law))
    at_reference = features(
        forward_area_cpt=RANGE.largest_forward_area_cpt, replay_ratio=0.0, peak_learning_rate_cpt=1.0
    )
    shift = terms_of(law, domain, parameters, at_reference).shift
    np.testing.assert_allclose(shift, SIGN[domain] * parameters["shift_at_reference"], rtol=1e-9)


@every_curve_law
@relaxed
@given(data=st.data())
def test_full_annealing_from_the_largest_lr_lowers_the_loss_by_the_drop(law: Law, domain: str, data: st.DataObject):
    """A full decay, long ago, is an annealing area of LR x memory."""
    fixed = {"loss_potential": 0.0, "a1": 0.0} if not law.knows_checkpoint else {}
    parameters = data.draw(parameters_of(law)) | {name: value for name, value in fixed.items() if name in names(law)}
    full = RANGE.largest_learning_rate * parameters["memory"]
    # an open checkpoint has no PT annealing: its drop is that of CPT, at full effect without Eq. 8's exponent
    where = "annealing_area_pt" if law.knows_checkpoint else "annealing_area_cpt"
    given = features() | {"annealing_area_pt": 0.0, "annealing_area_cpt": 0.0} | {where: full}
    annealing = terms_of(law, domain, parameters, given).annealing
    np.testing.assert_allclose(annealing, -parameters["annealing_drop"], rtol=1e-6)


@every_final_law
@relaxed
@given(data=st.data())
def test_a_domain_alone_at_the_reference_ends_at_the_final_loss_and_more_of_it_is_better(
    law: Law, domain: str, data: st.DataObject
):
    parameters = data.draw(parameters_of(law))
    share = np.linspace(0, 1, 9)
    given = features(9, replay_ratio=share if domain == "pt" else 1 - share, length_cpt=100.0)
    loss = terms_of(law, domain, parameters, given).loss
    assert loss[-1] == pytest.approx(parameters["final_loss"], rel=1e-9)
    won = loss[0] - loss[-1] + parameters.get("length_term", 0.0)  # the final loss is that without any other data
    assert won == pytest.approx(parameters["share_term"], rel=1e-7)
    if law.name == "data-mixing":
        assert (np.diff(loss) < 0).all()


def test_an_open_checkpoint_with_its_true_history_equals_the_known_one():
    """Eq. 4 with C1 S2_pt in L0, loss potential and forward area at their true values, gives the same loss."""
    known, opened = LAWS["cpt-replay"], LAWS["open-checkpoint"]
    parameters = some(known, 6) | {"annealing_ratio": 1.0}
    coefficients = known.coefficients(RANGE, "pt", **parameters)
    given = features()
    told = {name: value for name, value in coefficients.items() if name != "C1"}
    told |= {"L0": coefficients["L0"] - coefficients["C1"] * 0.15}
    told |= {"checkpoint_forward_area": 6.0, "loss_potential": 0.4}
    without_jump = given | {"annealing_area_cpt": given["annealing_area_cpt"] - 0.4 * given["jump_area_cpt"]}
    np.testing.assert_allclose(
        opened.predict("pt", without_jump, told).loss, known.predict("pt", given, coefficients).loss, rtol=1e-14
    )
