"""The laws of loss curves as pure functions, and the registry ``LAWS``.

A law gives, for one domain, the terms whose sum is the loss. The same text runs on NumPy arrays, PyTensor variables
and xarray objects, since it is written with operators and NumPy ufuncs alone. Every law stands in two forms: its
terms in the paper's own coefficients (``L0, A, alpha, C1, C2, B, E, beta, ...``), and ``coefficients``, which gives
those from quantities that a loss curve shows (a loss, a drop, a change at a reference amount of training). The second
set is what is sampled: the first is hardly identified (Wang et al. 2025: B = 29.1 with beta = .001 fits as well as
B = .28 with beta = .36).

Sources: Wang et al., ICML 2025, arXiv 2505.07796 (Eq. 2 to 8); Tissue et al. 2024, arXiv 2408.11029 (Eq. 1). The
own-share form of replay is this project's (docs/laws.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayes_cpt.errors import SpecError, hint
from bayes_cpt.responses import EXPONENTIAL, MULTI_POWER, NONE, RATE_WEIGHTED, Array, Response

SHIFT_SIGN: Mapping[str, int] = MappingProxyType({"pt": 1, "cpt": -1})
"""CPT raises the loss on ``pt`` (forgetting) and lowers it on ``cpt`` (gain): the signs of B in Eq. 4."""


class Terms(NamedTuple):
    """The parts of a loss, in nats: their sum is the law's prediction."""

    base: Array
    annealing: Array
    shift: Array

    @property
    def loss(self) -> Array:
        """The loss that the law predicts."""
        return self.base + self.annealing + self.shift


class Reference(NamedTuple):
    """The amounts of training at which a law's observable parameters are read.

    Parameters
    ----------
    forward_area
        Largest forward area of both phases in the data (LR x steps).
    forward_area_cpt
        Largest forward area of continual pre-training in the data (LR x steps).
    learning_rate
        Largest LR in the data.
    shift_sign
        +1 where continual pre-training raises the loss, -1 where it lowers it.
    model_size
        Largest model in the data, millions of parameters; NaN if not given.
    batch_tokens
        Tokens of the step that areas count; NaN if not given.
    length_cpt
        Most steps of continual pre-training in the data.
    """

    forward_area: float
    forward_area_cpt: float
    learning_rate: float
    shift_sign: int
    model_size: float = np.nan
    batch_tokens: float = np.nan
    length_cpt: float = np.nan


def power_law(forward_area: Array, L0: Array, A: Array, alpha: Array) -> Array:
    """Loss of training without annealing or shift: ``L0 + A S1^-alpha`` (Eq. 1)."""
    return L0 + A * forward_area**-alpha


def distribution_shift(forward_area_cpt: Array, B: Array, E: Array, beta: Array) -> Array:
    """Change of loss by a new data distribution: ``B (1 - (1 + E S1_cpt)^-beta)`` (Eq. 3).

    Zero at the transfer point. As ``beta`` goes to 0 with ``B beta`` fixed it tends to ``B beta log(1 + E S1_cpt)``.
    """
    return -B * np.expm1(-beta * np.log1p(E * forward_area_cpt))


def _share_decline(share: Array, scale: Array, exponent: Array) -> Array:
    return np.exp(-exponent * np.log1p(share / scale))


def own_share_multiplier_pt(replay_ratio: Array, replay_scale: Array, replay_exponent: Array) -> Array:
    """Multiplier of the shift on D_pt, ``(f(r_pt) - f(1)) / (1 - f(1))``, ``f(s) = (1 + s/scale)^-exponent``.

    1 without replay, 0 at full replay, steep where the replayed share is small.
    """
    full = _share_decline(1.0, replay_scale, replay_exponent)
    return (_share_decline(replay_ratio, replay_scale, replay_exponent) - full) / (1 - full)


def own_share_multiplier_cpt(replay_ratio: Array, replay_scale: Array, replay_exponent: Array) -> Array:
    """Multiplier of the shift on D_cpt, ``(1 - f(r_cpt)) / (1 - f(1))``, ``f(s) = (1 + s/scale)^-exponent``.

    1 without replay, 0 at full replay, steep where the share of new data is small.
    """
    full = _share_decline(1.0, replay_scale, replay_exponent)
    return (1 - _share_decline(1 - replay_ratio, replay_scale, replay_exponent)) / (1 - full)


SHARE_POWERS: Mapping[str, float] = MappingProxyType(
    {"steepest": 1 / 8, "steep": 1 / 4, "root": 1 / 2, "even": 1.0, "late": 3.0}
)
"""Powers of the share that the monotone form mixes; the weight of the ``root`` is 1."""


def _reached_share(
    share: Array,
    replay_weight_steepest: Array,
    replay_weight_steep: Array,
    replay_weight_even: Array,
    replay_weight_late: Array,
) -> Array:
    weights = (replay_weight_steepest, replay_weight_steep, 1.0, replay_weight_even, replay_weight_late)
    reached = sum(weight * share**power for weight, power in zip(weights, SHARE_POWERS.values(), strict=True))
    return reached / sum(weights)


def monotone_multiplier_pt(replay_ratio: Array, **replay_weights: Array) -> Array:
    """Multiplier of the shift on D_pt, ``1 - m(r_pt)``, m a weighted mean of powers of the share.

    1 without replay, 0 at full replay, falling between them, steeply or not as the data have it.
    """
    return 1 - _reached_share(replay_ratio, **replay_weights)


def monotone_multiplier_cpt(replay_ratio: Array, **replay_weights: Array) -> Array:
    """Multiplier of the shift on D_cpt, ``m(r_cpt)``, m a weighted mean of powers of the share."""
    return _reached_share(1 - replay_ratio, **replay_weights)


def annealing_law(
    *, forward_area_pt: Array, annealing_area_pt: Array, L0: Array, A: Array, alpha: Array, C: Array
) -> Terms:
    """Pre-training alone: ``L0 + A S1^-alpha - C S2`` (Eq. 1; Tissue et al. 2024)."""
    return Terms(power_law(forward_area_pt, L0, A, alpha), -C * annealing_area_pt, 0.0 * forward_area_pt)


def cpt_law(
    *,
    forward_area_pt: Array,
    forward_area_cpt: Array,
    annealing_area_pt: Array,
    annealing_area_cpt: Array,
    L0: Array,
    A: Array,
    alpha: Array,
    C1: Array,
    C2: Array,
    B: Array,
    E: Array,
    beta: Array,
) -> Terms:
    """Continual pre-training: ``L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + shift`` (Eq. 4)."""
    return Terms(
        power_law(forward_area_pt + forward_area_cpt, L0, A, alpha),
        -C1 * annealing_area_pt - C2 * annealing_area_cpt,
        distribution_shift(forward_area_cpt, B, E, beta),
    )


def replay_exponential_pt(
    replay_ratio: Array, annealing_area_cpt: Array, C2: Array, a1: Array, a2: Array, **rest: Array
) -> Terms:
    """Eq. 8 on D_pt: annealing times ``e^(a1 r_pt)``, shift times ``1 - e^(-a2 r_cpt)``."""
    terms = cpt_law(annealing_area_cpt=annealing_area_cpt, C2=C2 * np.exp(a1 * replay_ratio), **rest)
    return terms._replace(shift=terms.shift * -np.expm1(-a2 * (1 - replay_ratio)))


def replay_exponential_cpt(
    replay_ratio: Array, annealing_area_cpt: Array, C2: Array, a1: Array, a2: Array, **rest: Array
) -> Terms:
    """Eq. 8 on D_cpt: annealing times ``e^(a1 r_cpt)``, shift times ``e^(a2 r_cpt) - 1``."""
    terms = cpt_law(annealing_area_cpt=annealing_area_cpt, C2=C2 * np.exp(a1 * (1 - replay_ratio)), **rest)
    return terms._replace(shift=terms.shift * np.expm1(a2 * (1 - replay_ratio)))


def shift_speed_under(
    replay_ratio: Array, mean_learning_rate_cpt: Array, E: Array, replay_slowing: Array, rate_exponent: Array
) -> Array:
    """Speed of the shift, ``E r_cpt^replay_slowing (mean LR of CPT)^rate_exponent``.

    E without replay at the peak LR. A thousandth is added to r_cpt, so that there is a value at full replay.
    """
    new_data = np.log(1 - 0.999 * replay_ratio)
    return E * np.exp(replay_slowing * new_data + rate_exponent * np.log(mean_learning_rate_cpt))


def _replayed(multiplier: Callable[..., Array], parameters: tuple[str, ...]) -> Callable[..., Terms]:
    """Return Eq. 4 with the shift times a multiplier of ``replay_ratio`` and its speed as ``shift_speed_under``.

    B is the amplitude without replay; ``parameters`` are those of the multiplier.
    """

    def replayed_terms(
        *,
        replay_ratio: Array,
        mean_learning_rate_cpt: Array,
        replay_slowing: Array,
        rate_exponent: Array,
        E: Array,
        **rest: Array,
    ) -> Terms:
        of_multiplier = {name: rest.pop(name) for name in parameters if name in rest}
        speed = shift_speed_under(replay_ratio, mean_learning_rate_cpt, E, replay_slowing, rate_exponent)
        terms = cpt_law(E=speed, **rest)
        return terms._replace(shift=terms.shift * multiplier(replay_ratio, **of_multiplier))

    return replayed_terms


_OWN_SHARE_PARAMETERS = ("replay_scale", "replay_exponent")
_MONOTONE_PARAMETERS = tuple(f"replay_weight_{name}" for name in SHARE_POWERS if name != "root")

OWN_SHARE: Mapping[str, Callable[..., Terms]] = MappingProxyType(
    {
        "pt": _replayed(own_share_multiplier_pt, _OWN_SHARE_PARAMETERS),
        "cpt": _replayed(own_share_multiplier_cpt, _OWN_SHARE_PARAMETERS),
    }
)
"""The own-share form of replay by domain."""

MONOTONE: Mapping[str, Callable[..., Terms]] = MappingProxyType(
    {
        "pt": _replayed(monotone_multiplier_pt, _MONOTONE_PARAMETERS),
        "cpt": _replayed(monotone_multiplier_cpt, _MONOTONE_PARAMETERS),
    }
)
"""The monotone form of replay by domain."""


def _with_area_power(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    """Return a CPT law with S2^zeta for S2, one zeta a phase (Eq. 10); C1 and C2 then are nats a full annealing."""

    def terms_of_power(
        annealing_area_pt: Array, annealing_area_cpt: Array, full_area: Array, zeta1: Array, zeta2: Array, **rest: Array
    ) -> Terms:
        return terms(
            annealing_area_pt=_signed_power(annealing_area_pt / full_area, zeta1),
            annealing_area_cpt=_signed_power(annealing_area_cpt / full_area, zeta2),
            **rest,
        )

    return terms_of_power


def _signed_power(value: Array, power: Array) -> Array:
    """|value|^power with the sign of the value; a thousandth keeps its slope finite at 0."""
    return value * np.exp(0.5 * (power - 1) * np.log(value**2 + 1e-6))


def _with_size(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    """Return a CPT law with model size (Eq. 7): S2_pt N^g1, S2_cpt N^g2, and F N^-g3 on top; N in millions."""

    def sized_terms(
        *,
        model_size: Array,
        annealing_area_pt: Array,
        annealing_area_cpt: Array,
        F: Array,
        g1: Array,
        g2: Array,
        g3: Array,
        **rest: Array,
    ) -> Terms:
        log_size = np.log(model_size)
        found = terms(
            annealing_area_pt=annealing_area_pt * np.exp(g1 * log_size),
            annealing_area_cpt=annealing_area_cpt * np.exp(g2 * log_size),
            **rest,
        )
        return found._replace(base=found.base + F * np.exp(-g3 * log_size))

    return sized_terms


def _final(loss: Array, shift: Array) -> Terms:
    return Terms(loss, 0.0 * loss, shift)


def domain_cpt_law(
    *,
    share: Array,
    model_size: Array,
    length_cpt: Array,
    E: Array,
    A: Array,
    a: Array,
    B: Array,
    h: Array,
    b: Array,
    C: Array,
    e: Array,
    g: Array,
) -> Terms:
    """Final loss ``E + A / N^a + B r^h / D^b + C / (r + e)^g`` (D-CPT; Que et al. 2024, arXiv 2406.01375).

    r is the domain's own share of the data, N the model's parameters in millions, D the steps of CPT. The first two
    terms count as base, the others as shift.
    """
    by_length = B * share**h * np.exp(-b * np.log(length_cpt))
    base = E + A * np.exp(-a * np.log(model_size)) + 0.0 * by_length
    return _final(base, by_length + C * np.exp(-g * np.log(share + e)))


def data_mixing_law(*, share: Array, c: Array, k: Array, t: Array) -> Terms:
    """Final loss ``c + k exp(-t r)`` (data mixing; Ye et al. 2024, arXiv 2403.16952), r the domain's own share.

    With two domains the shares add to 1, so that one rate t is all that the sum over domains in the exponent can tell.
    """
    shift = k * np.exp(-t * share)
    return _final(c + 0.0 * shift, shift)


def _by_share(terms: Callable[..., Terms]) -> dict[str, Callable[..., Terms]]:
    """Return a law of the domain's own share by domain."""
    return {
        "pt": lambda replay_ratio, **rest: terms(share=replay_ratio, **rest),
        "cpt": lambda replay_ratio, **rest: terms(share=1 - replay_ratio, **rest),
    }


def _open(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    """Return the form of a CPT law for a checkpoint whose pre-training is not known."""

    def open_terms(
        annealing_area_cpt: Array,
        jump_area_cpt: Array,
        loss_potential: Array,
        checkpoint_forward_area: Array,
        **rest: Array,
    ) -> Terms:
        return terms(
            forward_area_pt=checkpoint_forward_area,
            annealing_area_pt=0.0 * annealing_area_cpt,  # a constant of the checkpoint: L0 absorbs it
            annealing_area_cpt=annealing_area_cpt + loss_potential * jump_area_cpt,
            C1=0.0,
            **rest,
        )

    return open_terms


def _base(loss_at_reference: Array, decline_over_decade: Array, alpha: Array, forward_area: Array) -> dict[str, Array]:
    reducible = decline_over_decade / np.expm1(alpha * np.log(10))
    return {"L0": loss_at_reference - reducible, "A": reducible * forward_area**alpha, "alpha": alpha}


def _shift(shift_at_reference: Array, shift_speed: Array, beta: Array, reference: Reference) -> dict[str, Array]:
    B = reference.shift_sign * shift_at_reference / -np.expm1(-beta * np.log1p(shift_speed))
    return {"B": B, "E": shift_speed / reference.forward_area_cpt, "beta": beta}


def annealing_coefficients(
    reference: Reference,
    *,
    memory: Array,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    annealing_drop: Array,
) -> dict[str, Array]:
    """Coefficients of Eq. 1; ``annealing_drop`` is the loss won by annealing fully from the largest LR."""
    base = _base(loss_at_reference, decline_over_decade, alpha, reference.forward_area)
    return base | {"C": annealing_drop / (reference.learning_rate * memory)}


def cpt_coefficients(
    reference: Reference,
    *,
    memory: Array,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    annealing_drop: Array,
    annealing_ratio: Array,
    shift_at_reference: Array,
    shift_speed: Array,
    beta: Array,
    **replay: Array,
) -> dict[str, Array]:
    """Coefficients of Eq. 4; ``annealing_ratio`` is C2 / C1, ``shift_speed`` is E x the reference S1_cpt.

    What is left over (the replay form's parameters) is passed on as it is.
    """
    C1 = annealing_drop / (reference.learning_rate * memory)
    base = _base(loss_at_reference, decline_over_decade, alpha, reference.forward_area)
    shift = _shift(shift_at_reference, shift_speed, beta, reference)
    return base | {"C1": C1, "C2": C1 * annealing_ratio} | shift | replay


def exponential_coefficients(reference: Reference, a2: Array, **rest: Array) -> dict[str, Array]:
    """Coefficients of Eq. 8, whose B multiplies a factor that is not 1 at no replay."""
    coefficients = cpt_coefficients(reference, **rest)
    no_replay = reference.shift_sign * -np.expm1(-reference.shift_sign * a2)
    return coefficients | {"B": coefficients["B"] / no_replay, "a2": a2}


def power_coefficients(reference: Reference, *, zeta1: Array, zeta2: Array, **rest: Array) -> dict[str, Array]:
    """Coefficients of Eq. 10, whose C1 and C2 multiply powers of the share of a full annealing."""
    coefficients = cpt_coefficients(reference, **rest)
    full = reference.learning_rate * rest["memory"]
    annealing = {name: coefficients[name] * full for name in ("C1", "C2") if name in coefficients}
    return coefficients | annealing | {"full_area": full, "zeta1": zeta1, "zeta2": zeta2}


def size_coefficients(
    reference: Reference, *, size_term: Array, g1: Array, g2: Array, g3: Array, **rest: Array
) -> dict[str, Array]:
    """Coefficients of Eq. 7; ``size_term`` is F N^-g3 at the reference size, which the loss there includes."""
    coefficients = cpt_coefficients(reference, **rest)
    log_size = np.log(reference.model_size)
    return coefficients | {
        "L0": coefficients["L0"] - size_term,
        "C1": coefficients["C1"] * np.exp(-g1 * log_size),
        "C2": coefficients["C2"] * np.exp(-g2 * log_size),
        "F": size_term * np.exp(g3 * log_size),
        "g1": g1,
        "g2": g2,
        "g3": g3,
    }


def domain_cpt_coefficients(
    reference: Reference,
    *,
    final_loss: Array,
    size_term: Array,
    a: Array,
    length_term: Array,
    h: Array,
    b: Array,
    share_term: Array,
    e: Array,
    g: Array,
) -> dict[str, Array]:
    """Coefficients of the D-CPT law from the loss at the reference size and length with the domain's data alone.

    ``size_term`` and ``length_term`` are A / N^a and B / D^b there, ``share_term`` what the whole share wins.
    """
    at_none, at_all = np.exp(-g * np.log(e)), np.exp(-g * np.log1p(e))
    C = share_term / (at_none - at_all)
    return {
        "E": final_loss - size_term - length_term - C * at_all,
        "A": size_term * np.exp(a * np.log(reference.model_size)),
        "a": a,
        "B": length_term * np.exp(b * np.log(reference.length_cpt)),
        "h": h,
        "b": b,
        "C": C,
        "e": e,
        "g": g,
    }


def data_mixing_coefficients(
    reference: Reference, *, final_loss: Array, share_term: Array, t: Array
) -> dict[str, Array]:
    """Coefficients of the data mixing law; ``final_loss`` is that with the domain's data alone."""
    del reference
    k = share_term / -np.expm1(-t)
    return {"c": final_loss - k * np.exp(-t), "k": k, "t": t}


_OF_PRE_TRAINING = ("annealing_ratio", "zeta1", "decline_over_decade")


def _open_coefficients(law: "Law") -> Callable[..., dict[str, Array]]:
    """Return the coefficients of an open law: the base is read at the checkpoint, whose forward area is a parameter.

    The decline is that ahead of the checkpoint, over as much training again, which pilots see the beginning of: the
    decades before it trade off with alpha along a bend, since no pilot has seen them.
    """
    absent = {name: 1.0 for name in ("annealing_ratio", "zeta1") if name in law.parameters}

    def open_coefficients(
        reference: Reference,
        *,
        checkpoint_forward_area: Array,
        loss_potential: Array,
        decline_over_doubling: Array,
        alpha: Array,
        **rest: Array,
    ) -> dict[str, Array]:
        at_checkpoint = reference._replace(forward_area=checkpoint_forward_area)
        before_over_ahead = np.expm1(alpha * np.log(10)) / -np.expm1(-alpha * np.log(2))
        decline = decline_over_doubling * before_over_ahead
        found = law.coefficients(at_checkpoint, decline_over_decade=decline, alpha=alpha, **absent, **rest)
        del found["C1"]
        return found | {"checkpoint_forward_area": checkpoint_forward_area, "loss_potential": loss_potential}

    return open_coefficients


@dataclass(frozen=True)
class Law:
    """One law: its terms by domain, its coefficients from what is sampled, and the data it is for.

    Parameters
    ----------
    name
        Key in ``LAWS``.
    equation
        What it says, for people.
    features
        Names of the features that its terms read.
    terms
        By domain: a function of features and coefficients that returns ``Terms``.
    coefficients
        The law's own coefficients from a ``Reference`` and the sampled parameters.
    parameters
        Names of the sampled parameters that the coefficients are made of, each domain with its own.
    checkpoint_parameters
        Names of the sampled parameters that belong to the checkpoint and are common to the domains.
    response
        How drops of the LR come into effect.
    has_shift, has_replay, has_size, has_length, knows_checkpoint, is_final
        Whether it describes continual pre-training, several replay ratios, several model sizes, several lengths, and a
        known pre-training; whether it is one of the losses of finished runs rather than of curves.
    """

    name: str
    equation: str
    features: tuple[str, ...]
    terms: Mapping[str, Callable[..., Terms]]
    coefficients: Callable[..., dict[str, Array]]
    parameters: tuple[str, ...]
    checkpoint_parameters: tuple[str, ...] = ()
    response: Response = EXPONENTIAL
    has_shift: bool = True
    has_replay: bool = False
    has_size: bool = False
    has_length: bool = True
    knows_checkpoint: bool = True
    is_final: bool = False

    @property
    def sampled(self) -> tuple[str, ...]:
        """Names of all parameters of the law that are sampled, those that shape the response included."""
        shape = (name for name in self.response.parameters if name not in self.parameters)
        return (*self.parameters, *shape, *self.checkpoint_parameters)

    def predict(self, domain: str, features: Mapping[str, Array], coefficients: Mapping[str, Array]) -> Terms:
        """Return the terms on ``domain``, taking from ``features`` those that the law reads."""
        return self.terms[domain](**{name: features[name] for name in self.features}, **coefficients)


_BASE = ("memory", "loss_at_reference", "decline_over_decade", "alpha", "annealing_drop")
_CPT = (*_BASE, "annealing_ratio", "shift_at_reference", "shift_speed", "beta")
_SPEED = ("replay_slowing", "rate_exponent")
_OWN_SHARE = (*_CPT, *_OWN_SHARE_PARAMETERS, *_SPEED)
_PT_FEATURES = ("forward_area_pt", "annealing_area_pt")
_CPT_FEATURES = (*_PT_FEATURES, "forward_area_cpt", "annealing_area_cpt")
_REPLAY_FEATURES = (*_CPT_FEATURES, "replay_ratio", "mean_learning_rate_cpt")

ANNEALING = Law(
    name="annealing",
    equation="L0 + A S1^-alpha - C S2",
    features=_PT_FEATURES,
    terms={"pt": annealing_law, "cpt": annealing_law},
    coefficients=annealing_coefficients,
    parameters=_BASE,
    has_shift=False,
)
CPT = Law(
    name="cpt",
    equation="L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)",
    features=_CPT_FEATURES,
    terms={"pt": cpt_law, "cpt": cpt_law},
    coefficients=cpt_coefficients,
    parameters=_CPT,
)
REPLAY = Law(
    name="cpt-replay",
    equation="Eq. 4 with the shift times (f(r_pt) - f(1)) / (1 - f(1)) on pt, (1 - f(r_cpt)) / (1 - f(1)) on cpt, "
    "f(share) = (1 + share / replay_scale)^-replay_exponent",
    features=_REPLAY_FEATURES,
    terms=OWN_SHARE,
    coefficients=cpt_coefficients,
    parameters=_OWN_SHARE,
    has_replay=True,
)


def _each(wrap: Callable[[Callable[..., Terms]], Callable[..., Terms]], law: Law) -> dict[str, Callable[..., Terms]]:
    return {domain: wrap(terms) for domain, terms in law.terms.items()}


_KNOWN = (
    ANNEALING,
    replace(
        ANNEALING,
        name="multi-power",
        equation="Eq. 1 with the drops' effect 1 - (1 + tail z)^(-1/tail), z = S1 since the drop / memory x LR^-power",
        response=MULTI_POWER,
    ),
    CPT,
    REPLAY,
    Law(
        name="cpt-replay-exponential",
        equation="Eq. 4 with the shift times 1 - e^(-a2 r_cpt) on pt, e^(a2 r_cpt) - 1 on cpt, and C2 times "
        "e^(a1 r_pt) on pt, e^(a1 r_cpt) on cpt",
        features=(*_CPT_FEATURES, "replay_ratio"),
        terms={"pt": replay_exponential_pt, "cpt": replay_exponential_cpt},
        coefficients=exponential_coefficients,
        parameters=(*_CPT, "a1", "a2"),
        has_replay=True,
    ),
    replace(
        REPLAY,
        name="cpt-replay-monotone",
        equation="Eq. 4 with the shift times 1 - m(r_pt) on pt, m(r_cpt) on cpt, m a weighted mean of powers",
        terms=MONOTONE,
        parameters=(*_CPT, *_MONOTONE_PARAMETERS, *_SPEED),
    ),
    replace(
        REPLAY,
        name="cpt-weighted",
        equation="cpt-replay with m_i LR_i^rate_weight for m_i (Eq. 9)",
        response=RATE_WEIGHTED,
    ),
    replace(
        REPLAY,
        name="cpt-power",
        equation="cpt-replay with S2_pt^zeta1, S2_cpt^zeta2 (Eq. 10)",
        terms=_each(_with_area_power, REPLAY),
        coefficients=power_coefficients,
        parameters=(*_OWN_SHARE, "zeta1", "zeta2"),
    ),
    replace(
        REPLAY, name="cpt-multi-power", equation="cpt-replay with the annealing of multi-power", response=MULTI_POWER
    ),
    replace(
        REPLAY,
        name="cpt-size",
        equation="cpt-replay with S2_pt N^g1, S2_cpt N^g2, and F N^-g3 on top (Eq. 7)",
        features=(*_REPLAY_FEATURES, "model_size"),
        terms=_each(_with_size, REPLAY),
        coefficients=size_coefficients,
        parameters=(*_OWN_SHARE, "size_term", "g1", "g2", "g3"),
        has_size=True,
    ),
)


_FINAL = (
    Law(
        name="d-cpt",
        equation="E + A / N^a + B r^h / D^b + C / (r + e)^g, r the domain's own share (Que et al. 2024)",
        features=("replay_ratio", "model_size", "length_cpt"),
        terms=_by_share(domain_cpt_law),
        coefficients=domain_cpt_coefficients,
        parameters=("final_loss", "size_term", "a", "length_term", "h", "b", "share_term", "e", "g"),
        response=NONE,
        has_replay=True,
        has_size=True,
        is_final=True,
    ),
    Law(
        name="data-mixing",
        equation="c + k e^(-t r), r the domain's own share (Ye et al. 2024)",
        features=("replay_ratio",),
        terms=_by_share(data_mixing_law),
        coefficients=data_mixing_coefficients,
        parameters=("final_loss", "share_term", "t"),
        response=NONE,
        has_replay=True,
        has_length=False,
        is_final=True,
    ),
)


def opened(law: Law) -> Law:
    """Return the form of a CPT law for a checkpoint whose pre-training is not known."""
    known_only = {"forward_area_pt", "annealing_area_pt"}
    return replace(
        law,
        name=open_name(law.name),
        equation=f"{law.name} without C1 S2_pt; the checkpoint's forward area and loss potential are parameters",
        features=(*(name for name in law.features if name not in known_only), "jump_area_cpt"),
        terms=_each(_open, law),
        coefficients=_open_coefficients(law),
        parameters=(*(name for name in law.parameters if name not in _OF_PRE_TRAINING), "decline_over_doubling"),
        checkpoint_parameters=("checkpoint_forward_area", "loss_potential"),
        knows_checkpoint=False,
    )


def open_name(name: str) -> str:
    """Return the name of a CPT law's open form; the default's is ``open-checkpoint``."""
    return "open-checkpoint" if name == REPLAY.name else f"open-{name.removeprefix('cpt-')}"


_OPEN = tuple(opened(law) for law in _KNOWN if law.has_shift and not law.has_size)
_REGISTRY = (*_KNOWN, *_OPEN, *_FINAL)

LAWS: Mapping[str, Law] = MappingProxyType({law.name: law for law in _REGISTRY})
"""Every law by name."""


def law(name: str) -> Law:
    """Return the law of that name.

    Raises
    ------
    SpecError
        If there is none; the message lists those there are.
    """
    if name not in LAWS:
        raise SpecError(f"unknown law {name!r}{hint(name, LAWS)}: the laws are {', '.join(LAWS)}")
    return LAWS[name]
