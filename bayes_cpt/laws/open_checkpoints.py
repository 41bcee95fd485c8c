"""Open checkpoints: saved models whose pre-training is not known.

The terms of a law stay the same. Parameters of the checkpoint replace the features of the pre-training: its forward
area, and its loss potential, the height h of its loss above the floor, 1 at the largest LR of the runs that continue
it. In laws with the annealing of Eq. 1, that is the last learning rate (LR) of the pre-training over this LR (Wang et
al., ICML 2025, arXiv 2505.07796, section on open-source checkpoints). The annealing of the pre-training is a constant
of the checkpoint, which L0 absorbs.
"""

from dataclasses import replace

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.laws.law import History, Law


def checkpoint_features(
    annealing_area_cpt: Array, jump_area_cpt: Array, checkpoint_forward_area: Array, loss_potential: Array
) -> dict[str, Array]:
    """Return the features that depend on the pre-training: its progress, its annealing (0), S2_cpt with the jump."""
    return {
        "progress_pt": checkpoint_forward_area,
        "annealing_area_pt": 0.0 * annealing_area_cpt,
        "annealing_area_cpt": annealing_area_cpt + loss_potential * jump_area_cpt,
        "C1": 0.0,
    }


def checkpoint_parameters(
    loss_at_reference: Array, alpha: Array, checkpoint_forward_area: Array, decline_over_doubling: Array
) -> dict[str, Array]:
    """Return the arguments of conversions that only a known pre-training identifies.

    The reference of the base is the checkpoint. Its decline is that after the checkpoint, over a doubling of training,
    of which pilots cover the beginning. The decline before the checkpoint, which no pilot covers, would trade off with
    alpha along a bend. The decline is a share of the loss, the same on all domains, as it is with known pre-training;
    otherwise the base would absorb the gain on ``cpt``. Ratios and powers of the annealing of the pre-training have no
    effect.
    """
    before_over_ahead = np.expm1(alpha * np.log(10)) / -np.expm1(-alpha * np.log(2))
    return {
        "largest_forward_area": checkpoint_forward_area,
        "decline_over_decade": decline_over_doubling * loss_at_reference * before_over_ahead,
        "annealing_ratio": 1.0,
        "zeta1": 1.0,
        "g1": 1.0,
    }


UNKNOWN = History(
    checkpoint_features,
    checkpoint_parameters,
    shared=("checkpoint_forward_area", "decline_over_doubling", "loss_potential"),
)
"""Replaces a known pre-training."""


def opened(law: Law, name: str) -> Law:
    """Return the form of a law of continual pre-training for a checkpoint whose pre-training is not known.

    A law with model size then describes checkpoints of one family, with the same pre-training at all sizes.
    """
    return replace(
        law,
        name=name,
        equation=f"{law.name} without C1 S2_pt; the checkpoint's forward area and loss potential are parameters",
        history=UNKNOWN,
    )
