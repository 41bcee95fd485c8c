"""Replay in the laws: annealing and shift under replay.

Annealing (Eq. 8): C2 is multiplied by ``e^(a1 s)``, s the share of the domain's own data in continual pre-training
(CPT): the replay ratio on pt, 1 - replay ratio on cpt.

Shift: B is multiplied by a form of the replay ratio, 1 without replay and 0 at full replay.

- The own-share form, with ``left(s) = (f(s) - f(1)) / (1 - f(1))``, ``f(s) = (1 + s / replay_scale)^-replay_exponent``:
  left(s) on pt, 1 - left(s) on cpt, steep where the domain's own share is small.
- The monotone form, with m(s) a weighted mean of powers: 1 - m(s) on pt, m(s) on cpt.
- The exponential form (Eq. 8): ``1 - e^(-a2 r_cpt)`` on pt, ``e^(a2 r_cpt) - 1`` on cpt, r_cpt = 1 - replay ratio.

In the first two, replay and the peak LR of CPT change the speed of the shift as well (`shift_speed_under`).

Sources: Eq. 8 is that of Wang et al., ICML 2025, arXiv 2505.07796; the own-share and the monotone form are this
project's (docs/laws.md).
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.laws.law import Term
from bayes_cpt.laws.terms import (
    annealing_coefficients,
    distribution_shift,
    power_annealing_coefficients,
    shift_coefficients,
    signed_power,
    sized_annealing_coefficients,
    two_phase_annealing,
)

# Annealing


def replay_annealing(
    *, annealing_area_pt: Array, annealing_area_cpt: Array, own_share: Array, C1: Array, C2: Array, a1: Array
) -> Array:
    """Return ``-C1 S2_pt - C2 e^(a1 s) S2_cpt`` (Eq. 8)."""
    return two_phase_annealing(annealing_area_pt, annealing_area_cpt, C1, C2 * np.exp(a1 * own_share))


def power_replay_annealing(
    *,
    annealing_area_pt: Array,
    annealing_area_cpt: Array,
    own_share: Array,
    C1: Array,
    C2: Array,
    a1: Array,
    full_area: Array,
    zeta1: Array,
    zeta2: Array,
) -> Array:
    """Return Eq. 8's annealing with S2^zeta for S2, one zeta per phase (Eq. 10).

    Areas count as shares of ``full_area``, that of a full annealing, so that C1 and C2 are in nats.
    """
    power_pt = signed_power(annealing_area_pt / full_area, zeta1)
    power_cpt = signed_power(annealing_area_cpt / full_area, zeta2)
    return replay_annealing(
        annealing_area_pt=power_pt, annealing_area_cpt=power_cpt, own_share=own_share, C1=C1, C2=C2, a1=a1
    )


def sized_replay_annealing(
    *,
    annealing_area_pt: Array,
    annealing_area_cpt: Array,
    own_share: Array,
    model_size: Array,
    C1: Array,
    C2: Array,
    a1: Array,
    g1: Array,
    g2: Array,
) -> Array:
    """Return Eq. 8's annealing with S2_pt N^g1 and S2_cpt N^g2 for S2 (Eq. 7), N in millions."""
    log_size = np.log(model_size)
    sized_pt, sized_cpt = annealing_area_pt * np.exp(g1 * log_size), annealing_area_cpt * np.exp(g2 * log_size)
    return replay_annealing(
        annealing_area_pt=sized_pt, annealing_area_cpt=sized_cpt, own_share=own_share, C1=C1, C2=C2, a1=a1
    )


REPLAY_ANNEALING = Term(replay_annealing, annealing_coefficients)
POWER_REPLAY_ANNEALING = Term(power_replay_annealing, power_annealing_coefficients)
SIZED_REPLAY_ANNEALING = Term(sized_replay_annealing, sized_annealing_coefficients)

# Speed of the shift


def shift_speed_under(
    replay_ratio: Array, peak_learning_rate_cpt: Array, E: Array, replay_slowing: Array, rate_exponent: Array
) -> Array:
    """Return the speed of the shift, ``E r_cpt^replay_slowing (peak LR of CPT)^rate_exponent``.

    It is E without replay at the peak LR. A thousandth is added to r_cpt, so the speed is finite at full replay.
    """
    log_new_data = np.log(1 - 0.999 * replay_ratio)
    return E * np.exp(replay_slowing * log_new_data + rate_exponent * np.log(peak_learning_rate_cpt))


# The own-share form


def left_of_shift(own_share: Array, replay_scale: Array, replay_exponent: Array) -> Array:
    """Return ``left(s) = (f(s) - f(1)) / (1 - f(1))``, ``f(s) = (1 + s / replay_scale)^-replay_exponent``.

    Exactly 1 at a share of 0 and 0 at a share of 1, without loss of digits at either end.
    """
    at_share = -replay_exponent * np.log1p(own_share / replay_scale)
    at_full = -replay_exponent * np.log1p(1 / replay_scale)
    return np.exp(at_share) * np.expm1(at_full - at_share) / np.expm1(at_full)


def own_share_shift_pt(
    *,
    forward_area_cpt: Array,
    replay_ratio: Array,
    own_share: Array,
    peak_learning_rate_cpt: Array,
    B: Array,
    E: Array,
    beta: Array,
    replay_scale: Array,
    replay_exponent: Array,
    replay_slowing: Array,
    rate_exponent: Array,
) -> Array:
    """Return the shift of Eq. 3 times ``left(s)``: forgetting under replay."""
    speed = shift_speed_under(replay_ratio, peak_learning_rate_cpt, E, replay_slowing, rate_exponent)
    return distribution_shift(forward_area_cpt, B, speed, beta) * left_of_shift(
        own_share, replay_scale, replay_exponent
    )


def own_share_shift_cpt(
    *,
    forward_area_cpt: Array,
    replay_ratio: Array,
    own_share: Array,
    peak_learning_rate_cpt: Array,
    B: Array,
    E: Array,
    beta: Array,
    replay_scale: Array,
    replay_exponent: Array,
    replay_slowing: Array,
    rate_exponent: Array,
) -> Array:
    """Return the shift of Eq. 3 times ``1 - left(s)``: the gain from the share of new data."""
    speed = shift_speed_under(replay_ratio, peak_learning_rate_cpt, E, replay_slowing, rate_exponent)
    return distribution_shift(forward_area_cpt, B, speed, beta) * (
        1 - left_of_shift(own_share, replay_scale, replay_exponent)
    )


OWN_SHARE_SHIFT: Mapping[str, Term] = MappingProxyType(
    {"pt": Term(own_share_shift_pt, shift_coefficients), "cpt": Term(own_share_shift_cpt, shift_coefficients)}
)
"""The shift in the own-share form of replay, by domain."""

# The monotone form

SHARE_POWERS: Mapping[str, float] = MappingProxyType(
    {"steepest": 1 / 8, "steep": 1 / 4, "root": 1 / 2, "even": 1.0, "late": 3.0}
)
"""Powers of the share that the monotone form mixes; the weight of the ``root`` is 1."""


def reached_of_shift(
    own_share: Array,
    replay_weight_steepest: Array,
    replay_weight_steep: Array,
    replay_weight_even: Array,
    replay_weight_late: Array,
) -> Array:
    """Return ``m(s)``, the weighted mean of powers of the share: 0 without it, 1 at a share of 1, rising between."""
    weights = (replay_weight_steepest, replay_weight_steep, 1.0, replay_weight_even, replay_weight_late)
    reached = sum(weight * own_share**power for weight, power in zip(weights, SHARE_POWERS.values(), strict=True))
    return reached / sum(weights)


def monotone_shift_pt(
    *,
    forward_area_cpt: Array,
    replay_ratio: Array,
    own_share: Array,
    peak_learning_rate_cpt: Array,
    B: Array,
    E: Array,
    beta: Array,
    replay_weight_steepest: Array,
    replay_weight_steep: Array,
    replay_weight_even: Array,
    replay_weight_late: Array,
    replay_slowing: Array,
    rate_exponent: Array,
) -> Array:
    """Return the shift of Eq. 3 times ``1 - m(s)``."""
    weights = (replay_weight_steepest, replay_weight_steep, replay_weight_even, replay_weight_late)
    speed = shift_speed_under(replay_ratio, peak_learning_rate_cpt, E, replay_slowing, rate_exponent)
    return distribution_shift(forward_area_cpt, B, speed, beta) * (1 - reached_of_shift(own_share, *weights))


def monotone_shift_cpt(
    *,
    forward_area_cpt: Array,
    replay_ratio: Array,
    own_share: Array,
    peak_learning_rate_cpt: Array,
    B: Array,
    E: Array,
    beta: Array,
    replay_weight_steepest: Array,
    replay_weight_steep: Array,
    replay_weight_even: Array,
    replay_weight_late: Array,
    replay_slowing: Array,
    rate_exponent: Array,
) -> Array:
    """Return the shift of Eq. 3 times ``m(s)``."""
    weights = (replay_weight_steepest, replay_weight_steep, replay_weight_even, replay_weight_late)
    speed = shift_speed_under(replay_ratio, peak_learning_rate_cpt, E, replay_slowing, rate_exponent)
    return distribution_shift(forward_area_cpt, B, speed, beta) * reached_of_shift(own_share, *weights)


MONOTONE_SHIFT: Mapping[str, Term] = MappingProxyType(
    {"pt": Term(monotone_shift_pt, shift_coefficients), "cpt": Term(monotone_shift_cpt, shift_coefficients)}
)
"""The shift in the monotone form of replay, by domain."""

# The exponential form


def exponential_shift_pt(
    *, forward_area_cpt: Array, replay_ratio: Array, B: Array, E: Array, beta: Array, a2: Array
) -> Array:
    """Return the shift of Eq. 3 times ``1 - e^(-a2 r_cpt)`` (Eq. 8)."""
    return distribution_shift(forward_area_cpt, B, E, beta) * -np.expm1(-a2 * (1 - replay_ratio))


def exponential_shift_cpt(
    *, forward_area_cpt: Array, replay_ratio: Array, B: Array, E: Array, beta: Array, a2: Array
) -> Array:
    """Return the shift of Eq. 3 times ``e^(a2 r_cpt) - 1`` (Eq. 8)."""
    return distribution_shift(forward_area_cpt, B, E, beta) * np.expm1(a2 * (1 - replay_ratio))


def exponential_shift_coefficients(
    *,
    shift_at_reference: Array,
    shift_speed: Array,
    beta: Array,
    a2: Array,
    largest_forward_area_cpt: Array,
    shift_sign: int,
) -> dict[str, Array]:
    """Return B and E. The factor of B is not 1 without replay, so B is divided by it."""
    found = shift_coefficients(shift_at_reference, shift_speed, beta, largest_forward_area_cpt, shift_sign)
    without_replay = shift_sign * -np.expm1(-shift_sign * a2)
    return {"B": found["B"] / without_replay, "E": found["E"]}


EXPONENTIAL_SHIFT: Mapping[str, Term] = MappingProxyType(
    {
        "pt": Term(exponential_shift_pt, exponential_shift_coefficients),
        "cpt": Term(exponential_shift_cpt, exponential_shift_coefficients),
    }
)
"""The shift in the exponential form of replay (Eq. 8), by domain."""
