"""Terms of the loss in pre-training and in continual pre-training (CPT) without replay, and their variants.

Each formula is followed by the conversion from sampled parameters to its coefficients (see `bayes_cpt.laws.law`).
Coefficients are those of the paper (``L0, A, alpha, C1, C2, B, E, beta, ...``).

Sources: Wang et al., ICML 2025, arXiv 2505.07796 (Eq. 2 to 10); Tissue et al. 2024, arXiv 2408.11029 (Eq. 1); the
multi-power law is that of Luo et al., ICLR 2025, arXiv 2503.12811.
"""

import numpy as np

from bayes_cpt._support.typing import Array

# Base


def power_law(progress: Array, L0: Array, A: Array, alpha: Array) -> Array:
    """Return the loss of training without annealing or shift: ``L0 + A S1^-alpha`` (Eq. 1).

    Progress is S1, or the sum of a power of the LR (`bayes_cpt.laws.areas.progress_rows`).
    """
    return L0 + A * progress**-alpha


def pretraining_base(progress_pt: Array, L0: Array, A: Array, alpha: Array) -> Array:
    """Return ``L0 + A S1_pt^-alpha`` (Eq. 1)."""
    return power_law(progress_pt, L0, A, alpha)


def warmed_up_base(*, progress_pt: Array, warmup_area_pt: Array, L0: Array, A: Array, alpha: Array, C: Array) -> Array:
    """Return Eq. 1's base with the annealing of the warm-up, which the multi-power law counts."""
    return power_law(progress_pt, L0, A, alpha) - C * warmup_area_pt


def two_phase_base(progress_pt: Array, progress_cpt: Array, L0: Array, A: Array, alpha: Array) -> Array:
    """Return ``L0 + A (S1_pt + S1_cpt)^-alpha`` (Eq. 2)."""
    return power_law(progress_pt + progress_cpt, L0, A, alpha)


def base_coefficients(
    loss_at_reference: Array, decline_over_decade: Array, alpha: Array, largest_forward_area: Array
) -> dict[str, Array]:
    """Return L0 and A.

    ``loss_at_reference`` is the base at the largest forward area, ``decline_over_decade`` its decline over the decade
    before.
    """
    reducible = decline_over_decade / np.expm1(alpha * np.log(10))
    return {"L0": loss_at_reference - reducible, "A": reducible * largest_forward_area**alpha}


def sized_base(
    *,
    progress_pt: Array,
    progress_cpt: Array,
    model_size: Array,
    L0: Array,
    A: Array,
    alpha: Array,
    F: Array,
    g3: Array,
) -> Array:
    """Return ``L0 + A (S1_pt + S1_cpt)^-alpha + F N^-g3`` (Eq. 7), N in millions."""
    return two_phase_base(progress_pt, progress_cpt, L0, A, alpha) + F * np.exp(-g3 * np.log(model_size))


def sized_base_coefficients(
    *,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    size_term: Array,
    g3: Array,
    largest_forward_area: Array,
    largest_model_size: Array,
) -> dict[str, Array]:
    """Return L0, A and F; ``size_term`` is F N^-g3 at the largest size, a part of ``loss_at_reference``."""
    found = base_coefficients(loss_at_reference, decline_over_decade, alpha, largest_forward_area)
    F = size_term * np.exp(g3 * np.log(largest_model_size))
    return {"L0": found["L0"] - size_term, "A": found["A"], "F": F}


# Annealing


def pretraining_annealing(annealing_area_pt: Array, C: Array) -> Array:
    """Return ``-C S2_pt`` (Eq. 1)."""
    return -C * annealing_area_pt


def pretraining_annealing_coefficients(
    annealing_drop: Array, memory: Array, largest_learning_rate: Array
) -> dict[str, Array]:
    """Return C; ``annealing_drop`` is the fall of the loss by full annealing from the largest LR."""
    return {"C": annealing_drop / (largest_learning_rate * memory)}


def two_phase_annealing(annealing_area_pt: Array, annealing_area_cpt: Array, C1: Array, C2: Array) -> Array:
    """Return ``-C1 S2_pt - C2 S2_cpt`` (Eq. 4)."""
    return -C1 * annealing_area_pt - C2 * annealing_area_cpt


def annealing_coefficients(
    annealing_drop: Array, annealing_ratio: Array, memory: Array, largest_learning_rate: Array
) -> dict[str, Array]:
    """Return C1 and C2, whose ratio C2 / C1 is ``annealing_ratio``; C1 is C of Eq. 1."""
    C1 = annealing_drop / (largest_learning_rate * memory)
    return {"C1": C1, "C2": C1 * annealing_ratio}


def power_annealing_coefficients(
    annealing_drop: Array, annealing_ratio: Array, memory: Array, largest_learning_rate: Array
) -> dict[str, Array]:
    """Return C1 and C2 of Eq. 10, which multiply powers of the share of a full annealing, and the full area."""
    full = largest_learning_rate * memory
    found = annealing_coefficients(annealing_drop, annealing_ratio, memory, largest_learning_rate)
    return {name: value * full for name, value in found.items()} | {"full_area": full}


def sized_annealing_coefficients(
    *,
    annealing_drop: Array,
    annealing_ratio: Array,
    memory: Array,
    g1: Array,
    g2: Array,
    largest_learning_rate: Array,
    largest_model_size: Array,
) -> dict[str, Array]:
    """Return C1 and C2 of Eq. 7, which multiply S2_pt N^g1 and S2_cpt N^g2; the drop is that at the largest size."""
    found = annealing_coefficients(annealing_drop, annealing_ratio, memory, largest_learning_rate)
    log_size = np.log(largest_model_size)
    return {"C1": found["C1"] * np.exp(-g1 * log_size), "C2": found["C2"] * np.exp(-g2 * log_size)}


def signed_power(value: Array, power: Array) -> Array:
    """Return |value|^power with the sign of the value, smoothed over a thousandth for a finite slope at 0."""
    return value * np.exp(0.5 * (power - 1) * np.log(value**2 + 1e-6))


# Shift


def distribution_shift(forward_area_cpt: Array, B: Array, E: Array, beta: Array) -> Array:
    """Return the change of the loss by new data: ``B (1 - (1 + E S1_cpt)^-beta)`` (Eq. 3).

    Zero at the transfer point. As ``beta`` goes to 0 with ``B beta`` fixed it tends to ``B beta log(1 + E S1_cpt)``.
    """
    return -B * np.expm1(-beta * np.log1p(E * forward_area_cpt))


def shift_coefficients(
    shift_at_reference: Array, shift_speed: Array, beta: Array, largest_forward_area_cpt: Array, shift_sign: int
) -> dict[str, Array]:
    """Return B and E.

    ``shift_at_reference`` is the size of the shift at the largest forward area of CPT, ``shift_speed`` E times that
    area.
    """
    B = shift_sign * shift_at_reference / -np.expm1(-beta * np.log1p(shift_speed))
    return {"B": B, "E": shift_speed / largest_forward_area_cpt}
