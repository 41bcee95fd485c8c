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
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bayes_cpt.errors import SpecError, hint

# A NumPy array, a PyTensor variable or an xarray object: the laws use what the three have in common.
type Array = Any

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
    """

    forward_area: float
    forward_area_cpt: float
    learning_rate: float
    shift_sign: int


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


def own_share_multiplier_pt(replay_ratio: Array, scale: Array, exponent: Array) -> Array:
    """Multiplier of the shift on D_pt, ``(f(r_pt) - f(1)) / (1 - f(1))`` with ``f(s) = (1 + s/scale)^-exponent``.

    1 without replay, 0 at full replay, steep where the replayed share is small.
    """
    full = _share_decline(1.0, scale, exponent)
    return (_share_decline(replay_ratio, scale, exponent) - full) / (1 - full)


def own_share_multiplier_cpt(replay_ratio: Array, scale: Array, exponent: Array) -> Array:
    """Multiplier of the shift on D_cpt, ``(1 - f(r_cpt)) / (1 - f(1))`` with ``f(s) = (1 + s/scale)^-exponent``.

    1 without replay, 0 at full replay, steep where the share of new data is small.
    """
    full = _share_decline(1.0, scale, exponent)
    return (1 - _share_decline(1 - replay_ratio, scale, exponent)) / (1 - full)


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


def _own_share(multiplier: Callable[..., Array]) -> Callable[..., Terms]:
    """Return Eq. 4 with the shift times a multiplier of ``replay_ratio`` and its speed as ``shift_speed_under``.

    B is the amplitude without replay.
    """

    def own_share_terms(
        *,
        replay_ratio: Array,
        mean_learning_rate_cpt: Array,
        replay_scale: Array,
        replay_exponent: Array,
        replay_slowing: Array,
        rate_exponent: Array,
        E: Array,
        **rest: Array,
    ) -> Terms:
        speed = shift_speed_under(replay_ratio, mean_learning_rate_cpt, E, replay_slowing, rate_exponent)
        terms = cpt_law(E=speed, **rest)
        return terms._replace(shift=terms.shift * multiplier(replay_ratio, replay_scale, replay_exponent))

    return own_share_terms


OWN_SHARE: Mapping[str, Callable[..., Terms]] = MappingProxyType(
    {"pt": _own_share(own_share_multiplier_pt), "cpt": _own_share(own_share_multiplier_cpt)}
)
"""The own-share form of replay by domain."""


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
            annealing_area_pt=0.0,  # a constant of the checkpoint: L0 absorbs it
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


def open_coefficients(
    reference: Reference,
    *,
    memory: Array,
    checkpoint_forward_area: Array,
    loss_potential: Array,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    annealing_drop: Array,
    shift_at_reference: Array,
    shift_speed: Array,
    beta: Array,
    **replay: Array,
) -> dict[str, Array]:
    """Coefficients of an open law; the base is read at the checkpoint, whose forward area is a parameter."""
    return (
        _base(loss_at_reference, decline_over_decade, alpha, checkpoint_forward_area)
        | _shift(shift_at_reference, shift_speed, beta, reference)
        | {"C2": annealing_drop / (reference.learning_rate * memory)}
        | {"checkpoint_forward_area": checkpoint_forward_area, "loss_potential": loss_potential}
        | replay
    )


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
        Names of the sampled parameters that each domain has its own of. ``memory``, in steps, is always one.
    checkpoint_parameters
        Names of the sampled parameters that belong to the checkpoint and are common to the domains.
    has_shift, has_replay, knows_checkpoint
        Whether it describes continual pre-training, several replay ratios, and a known pre-training.
    """

    name: str
    equation: str
    features: tuple[str, ...]
    terms: Mapping[str, Callable[..., Terms]]
    coefficients: Callable[..., dict[str, Array]]
    parameters: tuple[str, ...]
    checkpoint_parameters: tuple[str, ...] = ()
    has_shift: bool = True
    has_replay: bool = False
    knows_checkpoint: bool = True

    def predict(self, domain: str, features: Mapping[str, Array], coefficients: Mapping[str, Array]) -> Terms:
        """Return the terms on ``domain``, taking from ``features`` those that the law reads."""
        return self.terms[domain](**{name: features[name] for name in self.features}, **coefficients)


_BASE = ("memory", "loss_at_reference", "decline_over_decade", "alpha", "annealing_drop")
_SHIFT = ("shift_at_reference", "shift_speed", "beta")
_CPT = (*_BASE, "annealing_ratio", *_SHIFT)
_REPLAY = ("replay_scale", "replay_exponent", "replay_slowing", "rate_exponent")
_PT_FEATURES = ("forward_area_pt", "annealing_area_pt")
_CPT_FEATURES = (*_PT_FEATURES, "forward_area_cpt", "annealing_area_cpt")
_OPEN_FEATURES = ("forward_area_cpt", "annealing_area_cpt", "jump_area_cpt", "replay_ratio", "mean_learning_rate_cpt")

_REGISTRY = (
    Law(
        name="annealing",
        equation="L0 + A S1^-alpha - C S2",
        features=_PT_FEATURES,
        terms={"pt": annealing_law, "cpt": annealing_law},
        coefficients=annealing_coefficients,
        parameters=_BASE,
        has_shift=False,
    ),
    Law(
        name="cpt",
        equation="L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)",
        features=_CPT_FEATURES,
        terms={"pt": cpt_law, "cpt": cpt_law},
        coefficients=cpt_coefficients,
        parameters=_CPT,
    ),
    Law(
        name="cpt-replay",
        equation="Eq. 4 with the shift times (f(r_pt) - f(1)) / (1 - f(1)) on pt, (1 - f(r_cpt)) / (1 - f(1)) on cpt, "
        "f(share) = (1 + share / replay_scale)^-replay_exponent",
        features=(*_CPT_FEATURES, "replay_ratio", "mean_learning_rate_cpt"),
        terms=OWN_SHARE,
        coefficients=cpt_coefficients,
        parameters=(*_CPT, *_REPLAY),
        has_replay=True,
    ),
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
    Law(
        name="open-checkpoint",
        equation="cpt-replay without C1 S2_pt; the checkpoint's forward area and loss potential are parameters",
        features=_OPEN_FEATURES,
        terms={domain: _open(terms) for domain, terms in OWN_SHARE.items()},
        coefficients=open_coefficients,
        parameters=(*_BASE, *_SHIFT, *_REPLAY),
        checkpoint_parameters=("checkpoint_forward_area", "loss_potential"),
        has_replay=True,
        knows_checkpoint=False,
    ),
)

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
