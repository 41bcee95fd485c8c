"""The registry of laws: each is composed of its terms."""

from dataclasses import replace

from bayes_cpt._support.registry import Registry
from bayes_cpt.laws.final_losses import D_CPT, DATA_MIXING
from bayes_cpt.laws.law import DOMAINS, Law, Term
from bayes_cpt.laws.memory_kernels import MULTI_POWER, RATE_WEIGHTED, RELAXING
from bayes_cpt.laws.open_checkpoints import opened
from bayes_cpt.laws.replay import (
    EXPONENTIAL_SHIFT,
    MONOTONE_SHIFT,
    OWN_SHARE_SHIFT,
    POWER_REPLAY_ANNEALING,
    REPLAY_ANNEALING,
    SIZED_REPLAY_ANNEALING,
)
from bayes_cpt.laws.terms import (
    annealing_coefficients,
    base_coefficients,
    distribution_shift,
    pretraining_annealing,
    pretraining_annealing_coefficients,
    pretraining_base,
    shift_coefficients,
    sized_base,
    sized_base_coefficients,
    two_phase_annealing,
    two_phase_base,
    warmed_up_base,
)

# Pre-training

ANNEALING = Law(
    name="annealing",
    equation="L0 + A S1^-alpha - C S2",
    base=Term(pretraining_base, base_coefficients),
    annealing=Term(pretraining_annealing, pretraining_annealing_coefficients),
)
MULTI_POWER_LAW = replace(
    ANNEALING,
    name="multi-power",
    equation="Eq. 1 with the drops' effect 1 - (1 + tail z)^(-1/tail), z = S1 since the drop / memory x LR^-power",
    base=Term(warmed_up_base, base_coefficients),
    memory_kernel=MULTI_POWER,
)
RELAXATION = replace(
    ANNEALING,
    name="relaxation",
    equation="L0 + A S1^-alpha - annealing_drop (1 - h), where h relaxes to x^level_power, x = LR / peak, at the rate "
    "x^response_power / memory",
    memory_kernel=RELAXING,
)

# Continual pre-training

CPT = Law(
    name="cpt",
    equation="L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)",
    base=Term(two_phase_base, base_coefficients),
    annealing=Term(two_phase_annealing, annealing_coefficients),
    shift=dict.fromkeys(DOMAINS, Term(distribution_shift, shift_coefficients)),
)
REPLAY = replace(
    CPT,
    name="cpt-replay",
    equation="Eq. 4 with the shift times left(s) on pt, 1 - left(s) on cpt, left(s) = (f(s) - f(1)) / (1 - f(1)), "
    "f(s) = (1 + s / replay_scale)^-replay_exponent, and C2 times e^(a1 s), s the domain's own share",
    annealing=REPLAY_ANNEALING,
    shift=OWN_SHARE_SHIFT,
)
REPLAY_EXPONENTIAL = replace(
    REPLAY,
    name="cpt-replay-exponential",
    equation="Eq. 4 with the shift times 1 - e^(-a2 r_cpt) on pt, e^(a2 r_cpt) - 1 on cpt, and C2 times e^(a1 r_pt) on "
    "pt, e^(a1 r_cpt) on cpt (Eq. 8)",
    shift=EXPONENTIAL_SHIFT,
)
REPLAY_MONOTONE = replace(
    REPLAY,
    name="cpt-replay-monotone",
    equation="Eq. 4 with the shift times 1 - m(r_pt) on pt, m(r_cpt) on cpt, m a weighted mean of powers, and C2 times "
    "e^(a1 s), s the domain's own share",
    shift=MONOTONE_SHIFT,
)
WEIGHTED = replace(
    REPLAY,
    name="cpt-weighted",
    equation="cpt-replay with m_i LR_i^rate_weight for m_i (Eq. 9)",
    memory_kernel=RATE_WEIGHTED,
)
POWER = replace(
    REPLAY,
    name="cpt-power",
    equation="cpt-replay with S2_pt^zeta1, S2_cpt^zeta2 (Eq. 10)",
    annealing=POWER_REPLAY_ANNEALING,
)
CPT_MULTI_POWER = replace(
    REPLAY,
    name="cpt-multi-power",
    equation="cpt-replay with the annealing of multi-power",
    memory_kernel=MULTI_POWER,
)
SIZE = replace(
    REPLAY,
    name="cpt-size",
    equation="cpt-replay with S2_pt N^g1, S2_cpt N^g2, and F N^-g3 on top (Eq. 7)",
    base=Term(sized_base, sized_base_coefficients),
    annealing=SIZED_REPLAY_ANNEALING,
)
CPT_RELAXATION = replace(
    REPLAY, name="cpt-relaxation", equation="cpt-replay with the annealing of relaxation", memory_kernel=RELAXING
)

KNOWN = (CPT, REPLAY, REPLAY_EXPONENTIAL, REPLAY_MONOTONE, WEIGHTED, POWER, CPT_MULTI_POWER, SIZE)
"""Laws of continual pre-training from a checkpoint whose pre-training is known, and that have an open form.

Relaxation has none yet: what is stated of a checkpoint (``--annealed-to``) is its LR, not its height above the floor.
"""


def open_name(name: str) -> str:
    """Return the name of the open form of a law of continual pre-training; the default's is ``open-checkpoint``."""
    return "open-checkpoint" if name == REPLAY.name else f"open-{name.removeprefix('cpt-')}"


OPEN = tuple(opened(law, open_name(law.name)) for law in KNOWN)

OF_PRETRAINING = (ANNEALING, MULTI_POWER_LAW, RELAXATION)

LAWS: Registry[Law] = Registry(
    "law", {law.name: law for law in (*OF_PRETRAINING, *KNOWN, CPT_RELAXATION, *OPEN, D_CPT, DATA_MIXING)}
)
"""Every law by name."""
