"""The laws of loss curves as pure functions of features and coefficients: each gives the terms whose sum is the loss.

The same text runs on NumPy arrays, PyTensor variables and xarray objects, since it is written with operators and NumPy
ufuncs alone. Coefficients are the paper's own (``L0, A, alpha, C1, C2, B, E, beta, ...``):
`bayes_cpt.laws.coefficients` gives them from what is sampled.

Sources: Wang et al., ICML 2025, arXiv 2505.07796 (Eq. 2 to 10); Tissue et al. 2024, arXiv 2408.11029 (Eq. 1). The
own-share and the monotone form of replay are this project's (docs/laws.md).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array


class Terms(NamedTuple):
    """The parts of a loss, in nats: their sum is the law's prediction."""

    base: Array
    annealing: Array
    shift: Array

    @property
    def loss(self) -> Array:
        """The loss that the law predicts."""
        return self.base + self.annealing + self.shift


def power_law(progress: Array, L0: Array, A: Array, alpha: Array) -> Array:
    """Loss of training without annealing or shift: ``L0 + A S1^-alpha`` (Eq. 1).

    Progress is S1, or the sum of a power of the LR in its place (`bayes_cpt.laws.forward_progress`).
    """
    return L0 + A * progress**-alpha


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
    *, progress_pt: Array, annealing_area_pt: Array, L0: Array, A: Array, alpha: Array, C: Array
) -> Terms:
    """Pre-training alone: ``L0 + A S1^-alpha - C S2`` (Eq. 1; Tissue et al. 2024)."""
    return Terms(power_law(progress_pt, L0, A, alpha), -C * annealing_area_pt, 0.0 * progress_pt)


def multi_power_law(*, warmup_area_pt: Array, C: Array, **rest: Array) -> Terms:
    """Pre-training alone, ``L0 + A S1^-alpha - C S2``, S2 of the warm-up too (Luo et al. 2025); that counts as base."""
    terms = annealing_law(C=C, **rest)
    return terms._replace(base=terms.base - C * warmup_area_pt)


def cpt_law(
    *,
    progress_pt: Array,
    progress_cpt: Array,
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
        power_law(progress_pt + progress_cpt, L0, A, alpha),
        -C1 * annealing_area_pt - C2 * annealing_area_cpt,
        distribution_shift(forward_area_cpt, B, E, beta),
    )


SHARES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"pt": lambda replay_ratio: replay_ratio, "cpt": lambda replay_ratio: 1 - replay_ratio}
)
"""A domain's own share of the data of continual pre-training."""


def _annealed_by_share(terms: Mapping[str, Callable[..., Terms]]) -> Mapping[str, Callable[..., Terms]]:
    """Return laws by domain with the annealing of CPT times ``e^(a1 share)``, of the domain's own share (Eq. 8)."""

    def of(domain: str) -> Callable[..., Terms]:
        def annealed_terms(*, replay_ratio: Array, C2: Array, a1: Array, **rest: Array) -> Terms:
            annealing = C2 * np.exp(a1 * SHARES[domain](replay_ratio))
            return terms[domain](replay_ratio=replay_ratio, C2=annealing, **rest)

        return annealed_terms

    return MappingProxyType({domain: of(domain) for domain in terms})


def _exponential_pt(*, replay_ratio: Array, a2: Array, **rest: Array) -> Terms:
    terms = cpt_law(**rest)
    return terms._replace(shift=terms.shift * -np.expm1(-a2 * (1 - replay_ratio)))


def _exponential_cpt(*, replay_ratio: Array, a2: Array, **rest: Array) -> Terms:
    terms = cpt_law(**rest)
    return terms._replace(shift=terms.shift * np.expm1(a2 * (1 - replay_ratio)))


EXPONENTIAL_REPLAY: Mapping[str, Callable[..., Terms]] = _annealed_by_share(
    {"pt": _exponential_pt, "cpt": _exponential_cpt}
)
"""Eq. 8 by domain: shift times ``1 - e^(-a2 r_cpt)`` on D_pt, ``e^(a2 r_cpt) - 1`` on D_cpt."""


def shift_speed_under(
    replay_ratio: Array, peak_learning_rate_cpt: Array, E: Array, replay_slowing: Array, rate_exponent: Array
) -> Array:
    """Speed of the shift, ``E r_cpt^replay_slowing (peak LR of CPT)^rate_exponent``.

    E without replay at the peak LR. A thousandth is added to r_cpt, so that there is a value at full replay.
    """
    new_data = np.log(1 - 0.999 * replay_ratio)
    return E * np.exp(replay_slowing * new_data + rate_exponent * np.log(peak_learning_rate_cpt))


def _replayed(multiplier: Callable[..., Array], parameters: tuple[str, ...]) -> Callable[..., Terms]:
    """Return Eq. 4 with the shift times a multiplier of ``replay_ratio`` and its speed as ``shift_speed_under``.

    B is the amplitude without replay; ``parameters`` are those of the multiplier.
    """

    def replayed_terms(
        *,
        replay_ratio: Array,
        peak_learning_rate_cpt: Array,
        replay_slowing: Array,
        rate_exponent: Array,
        E: Array,
        **rest: Array,
    ) -> Terms:
        of_multiplier = {name: rest.pop(name) for name in parameters if name in rest}
        speed = shift_speed_under(replay_ratio, peak_learning_rate_cpt, E, replay_slowing, rate_exponent)
        terms = cpt_law(E=speed, **rest)
        return terms._replace(shift=terms.shift * multiplier(replay_ratio, **of_multiplier))

    return replayed_terms


OWN_SHARE_PARAMETERS = ("replay_scale", "replay_exponent")
MONOTONE_PARAMETERS = tuple(f"replay_weight_{name}" for name in SHARE_POWERS if name != "root")

OWN_SHARE: Mapping[str, Callable[..., Terms]] = _annealed_by_share(
    {
        "pt": _replayed(own_share_multiplier_pt, OWN_SHARE_PARAMETERS),
        "cpt": _replayed(own_share_multiplier_cpt, OWN_SHARE_PARAMETERS),
    }
)
"""The own-share form of replay by domain, its annealing as in Eq. 8."""

MONOTONE: Mapping[str, Callable[..., Terms]] = _annealed_by_share(
    {
        "pt": _replayed(monotone_multiplier_pt, MONOTONE_PARAMETERS),
        "cpt": _replayed(monotone_multiplier_cpt, MONOTONE_PARAMETERS),
    }
)
"""The monotone form of replay by domain, its annealing as in Eq. 8."""


def with_area_power(terms: Callable[..., Terms]) -> Callable[..., Terms]:
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


def with_size(terms: Callable[..., Terms]) -> Callable[..., Terms]:
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


def by_share(terms: Callable[..., Terms]) -> dict[str, Callable[..., Terms]]:
    """Return a law of the domain's own share by domain."""

    def of(own: Callable[[Array], Array]) -> Callable[..., Terms]:
        return lambda replay_ratio, **rest: terms(share=own(replay_ratio), **rest)

    return {domain: of(own) for domain, own in SHARES.items()}


def opened_terms(terms: Callable[..., Terms]) -> Callable[..., Terms]:
    """Return the form of a CPT law for a checkpoint whose pre-training is not known."""

    def open_terms(
        annealing_area_cpt: Array,
        jump_area_cpt: Array,
        loss_potential: Array,
        checkpoint_forward_area: Array,
        **rest: Array,
    ) -> Terms:
        return terms(
            progress_pt=checkpoint_forward_area,
            annealing_area_pt=0.0 * annealing_area_cpt,  # a constant of the checkpoint: L0 absorbs it
            annealing_area_cpt=annealing_area_cpt + loss_potential * jump_area_cpt,
            C1=0.0,
            **rest,
        )

    return open_terms
