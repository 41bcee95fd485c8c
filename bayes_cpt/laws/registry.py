"""The registry of laws: for each, its terms by domain, what is sampled, and the data it is for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.errors import SpecError, hint
from bayes_cpt.laws.coefficients import (
    Reference,
    annealing_coefficients,
    cpt_coefficients,
    data_mixing_coefficients,
    domain_cpt_coefficients,
    exponential_coefficients,
    power_coefficients,
    size_coefficients,
)
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, MULTI_POWER, NONE, RATE_WEIGHTED, Response
from bayes_cpt.laws.terms import (
    EXPONENTIAL_REPLAY,
    MONOTONE,
    MONOTONE_PARAMETERS,
    OWN_SHARE,
    OWN_SHARE_PARAMETERS,
    Terms,
    annealing_law,
    by_share,
    cpt_law,
    data_mixing_law,
    domain_cpt_law,
    multi_power_law,
    opened_terms,
    with_area_power,
    with_size,
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
_OF_RUNS = ("replay_slowing", "rate_exponent", "a1")
_OWN_SHARE = (*_CPT, *OWN_SHARE_PARAMETERS, *_OF_RUNS)
_PT_FEATURES = ("progress_pt", "annealing_area_pt")
_CPT_FEATURES = (*_PT_FEATURES, "progress_cpt", "forward_area_cpt", "annealing_area_cpt")
_REPLAY_FEATURES = (*_CPT_FEATURES, "replay_ratio", "peak_learning_rate_cpt")

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
    "f(share) = (1 + share / replay_scale)^-replay_exponent, and C2 times e^(a1 share), the domain's own share",
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
        features=(*_PT_FEATURES, "warmup_area_pt"),
        terms={"pt": multi_power_law, "cpt": multi_power_law},
        response=MULTI_POWER,
    ),
    CPT,
    REPLAY,
    Law(
        name="cpt-replay-exponential",
        equation="Eq. 4 with the shift times 1 - e^(-a2 r_cpt) on pt, e^(a2 r_cpt) - 1 on cpt, and C2 times "
        "e^(a1 r_pt) on pt, e^(a1 r_cpt) on cpt",
        features=(*_CPT_FEATURES, "replay_ratio"),
        terms=EXPONENTIAL_REPLAY,
        coefficients=exponential_coefficients,
        parameters=(*_CPT, "a1", "a2"),
        has_replay=True,
    ),
    replace(
        REPLAY,
        name="cpt-replay-monotone",
        equation="Eq. 4 with the shift times 1 - m(r_pt) on pt, m(r_cpt) on cpt, m a weighted mean of powers, and C2 "
        "times e^(a1 share)",
        terms=MONOTONE,
        parameters=(*_CPT, *MONOTONE_PARAMETERS, *_OF_RUNS),
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
        terms=_each(with_area_power, REPLAY),
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
        terms=_each(with_size, REPLAY),
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
        terms=by_share(domain_cpt_law),
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
        terms=by_share(data_mixing_law),
        coefficients=data_mixing_coefficients,
        parameters=("final_loss", "share_term", "t"),
        response=NONE,
        has_replay=True,
        has_length=False,
        is_final=True,
    ),
)


_OF_ITS_ANNEALING = ("annealing_ratio", "zeta1", "g1")
_OF_PRE_TRAINING = (*_OF_ITS_ANNEALING, "decline_over_decade")


def _open_coefficients(law: "Law") -> Callable[..., dict[str, Array]]:
    """Return the coefficients of an open law: the base is read at the checkpoint, whose forward area is a parameter.

    The decline is that ahead of the checkpoint, over as much training again, which pilots see the beginning of: the
    decades before it trade off with alpha along a bend, since no pilot has seen them. It is a share of the loss, the
    same on all domains, as it is where histories are known: else the base would take over the gain on ``cpt``.
    """
    absent = {name: 1.0 for name in _OF_ITS_ANNEALING if name in law.parameters}

    def open_coefficients(
        reference: Reference,
        *,
        checkpoint_forward_area: Array,
        loss_potential: Array,
        decline_over_doubling: Array,
        loss_at_reference: Array,
        alpha: Array,
        **rest: Array,
    ) -> dict[str, Array]:
        found = law.coefficients(
            reference._replace(forward_area=checkpoint_forward_area),
            loss_at_reference=loss_at_reference,
            decline_over_decade=decline_over_doubling * loss_at_reference * _before_over_ahead(alpha),
            alpha=alpha,
            **absent,
            **rest,
        )
        del found["C1"]
        return found | {"checkpoint_forward_area": checkpoint_forward_area, "loss_potential": loss_potential}

    return open_coefficients


def _before_over_ahead(alpha: Array) -> Array:
    """Decline over the decade before a checkpoint, over that by as much training again."""
    return np.expm1(alpha * np.log(10)) / -np.expm1(-alpha * np.log(2))


def opened(law: Law) -> Law:
    """Return the form of a CPT law for a checkpoint whose pre-training is not known.

    Of a law with model size: for checkpoints of one family, pre-trained alike at all sizes.
    """
    known_only = {"progress_pt", "annealing_area_pt"}
    return replace(
        law,
        name=open_name(law.name),
        equation=f"{law.name} without C1 S2_pt; the checkpoint's forward area and loss potential are parameters",
        features=(*(name for name in law.features if name not in known_only), "jump_area_cpt"),
        terms=_each(opened_terms, law),
        coefficients=_open_coefficients(law),
        parameters=tuple(name for name in law.parameters if name not in _OF_PRE_TRAINING),
        checkpoint_parameters=("checkpoint_forward_area", "decline_over_doubling", "loss_potential"),
        knows_checkpoint=False,
    )


def open_name(name: str) -> str:
    """Return the name of a CPT law's open form; the default's is ``open-checkpoint``."""
    return "open-checkpoint" if name == REPLAY.name else f"open-{name.removeprefix('cpt-')}"


_OPEN = tuple(opened(law) for law in _KNOWN if law.has_shift)
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
