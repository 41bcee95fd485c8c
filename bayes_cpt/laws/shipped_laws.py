"""The registry of laws: each is composed of its terms."""

from dataclasses import replace

from bayes_cpt._support.registry import Registry
from bayes_cpt.laws.final_losses import D_CPT, DATA_MIXING
from bayes_cpt.laws.law import DOMAINS, Law, Term
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, MULTI_POWER, RATE_WEIGHTED, RELAXING
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

ANNEALING_EQ1 = Law(
    name="annealing-eq1",
    equation="L0 + A S1^-alpha - C S2",
    base=Term(pretraining_base, base_coefficients),
    annealing=Term(pretraining_annealing, pretraining_annealing_coefficients),
)
ANNEALING = replace(
    ANNEALING_EQ1,
    name="annealing",
    equation="Eq. 1 with 1 - h for S2 over a full annealing; h relaxes to x^level_power, x = LR / peak, at the rate "
    "x^response_power / memory",
    memory_kernel=RELAXING,
)
MULTI_POWER_LAW = replace(
    ANNEALING_EQ1,
    name="multi-power",
    equation="Eq. 1 with the drops' effect 1 - (1 + tail z)^(-1/tail), z = S1 since the drop / memory x LR^-power",
    base=Term(warmed_up_base, base_coefficients),
    memory_kernel=MULTI_POWER,
)

# Continual pre-training, with annealing as relaxation

CPT = Law(
    name="cpt",
    equation="Eq. 4 with the annealing of the law annealing, one h through both phases",
    base=Term(two_phase_base, base_coefficients),
    annealing=Term(two_phase_annealing, annealing_coefficients),
    shift=dict.fromkeys(DOMAINS, Term(distribution_shift, shift_coefficients)),
    memory_kernel=RELAXING,
)
REPLAY = replace(
    CPT,
    name="cpt-replay",
    equation="cpt with the shift times left(s) on pt, 1 - left(s) on cpt, left(s) = (f(s) - f(1)) / (1 - f(1)), "
    "f(s) = (1 + s / replay_scale)^-replay_exponent, and C2 times e^(a1 s), s the domain's own share",
    annealing=REPLAY_ANNEALING,
    shift=OWN_SHARE_SHIFT,
)
REPLAY_EXPONENTIAL = replace(
    REPLAY,
    name="cpt-replay-exponential",
    equation="cpt with the shift times 1 - e^(-a2 r_cpt) on pt, e^(a2 r_cpt) - 1 on cpt, and C2 times e^(a1 r_pt) on "
    "pt, e^(a1 r_cpt) on cpt (Eq. 8)",
    shift=EXPONENTIAL_SHIFT,
)
REPLAY_MONOTONE = replace(
    REPLAY,
    name="cpt-replay-monotone",
    equation="cpt with the shift times 1 - m(r_pt) on pt, m(r_cpt) on cpt, m a weighted mean of powers, and C2 times "
    "e^(a1 s), s the domain's own share",
    shift=MONOTONE_SHIFT,
)
SIZE = replace(
    REPLAY,
    name="cpt-size",
    equation="cpt-replay with S2_pt N^g1, S2_cpt N^g2, and F N^-g3 on top (Eq. 7)",
    base=Term(sized_base, sized_base_coefficients),
    annealing=SIZED_REPLAY_ANNEALING,
)

# The same with the annealing of Eq. 1, as in the paper, and its variants


def with_eq1(law: Law, name: str, equation: str) -> Law:
    """Return a law with the annealing of Eq. 1: drops take effect by the exponential kernel."""
    return replace(law, name=name, equation=equation, memory_kernel=EXPONENTIAL)


CPT_EQ4 = with_eq1(
    CPT, "cpt-eq4", "L0 + A (S1_pt + S1_cpt)^-alpha - C1 S2_pt - C2 S2_cpt + B (1 - (1 + E S1_cpt)^-beta)"
)
REPLAY_EQ4 = with_eq1(REPLAY, "cpt-replay-eq4", "cpt-replay with the annealing of Eq. 4")
REPLAY_EQ8 = with_eq1(REPLAY_EXPONENTIAL, "cpt-replay-eq8", "cpt-replay-exponential with the annealing of Eq. 4: Eq. 8")
SIZE_EQ7 = with_eq1(SIZE, "cpt-size-eq7", "cpt-size with the annealing of Eq. 4: Eq. 7")
WEIGHTED = replace(
    REPLAY_EQ4,
    name="cpt-weighted",
    equation="cpt-replay-eq4 with m_i LR_i^rate_weight for m_i (Eq. 9)",
    memory_kernel=RATE_WEIGHTED,
)
POWER = replace(
    REPLAY_EQ4,
    name="cpt-power",
    equation="cpt-replay-eq4 with S2_pt^zeta1, S2_cpt^zeta2 (Eq. 10)",
    annealing=POWER_REPLAY_ANNEALING,
)
CPT_MULTI_POWER = replace(
    REPLAY_EQ4,
    name="cpt-multi-power",
    equation="cpt-replay-eq4 with the annealing of multi-power",
    memory_kernel=MULTI_POWER,
)

OF_PRETRAINING = (ANNEALING, ANNEALING_EQ1, MULTI_POWER_LAW)
OPENED = (CPT, REPLAY, REPLAY_EXPONENTIAL, REPLAY_MONOTONE, SIZE, REPLAY_EQ4, WEIGHTED, POWER, CPT_MULTI_POWER)
"""Laws of continual pre-training with an open form, for a checkpoint whose pre-training is not known."""
ONLY_KNOWN = (CPT_EQ4, REPLAY_EQ8, SIZE_EQ7)


def open_name(name: str) -> str:
    """Return the name of the open form of a law of continual pre-training; the default's is ``open-checkpoint``."""
    return "open-checkpoint" if name == REPLAY.name else f"open-{name.removeprefix('cpt-')}"


OPEN = tuple(opened(law, open_name(law.name)) for law in OPENED)

LAWS: Registry[Law] = Registry(
    "law", {law.name: law for law in (*OF_PRETRAINING, *OPENED, *ONLY_KNOWN, *OPEN, D_CPT, DATA_MIXING)}
)
"""Every law by name."""
