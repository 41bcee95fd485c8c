"""Open checkpoints: saved models whose pre-training is not known.

The terms of a law stay as they are. What the pre-training would give is made of parameters of the checkpoint in its
place: its forward area, and its loss potential, the last learning rate (LR) of the pre-training over the largest of the
runs that go on from it (Wang et al., ICML 2025, arXiv 2505.07796, section on open-source checkpoints). The annealing of
the pre-training is a constant of the checkpoint, which L0 absorbs.
"""

from dataclasses import replace

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.laws.law import History, Law


def checkpoint_features(
    annealing_area_cpt: Array, jump_area_cpt: Array, checkpoint_forward_area: Array, loss_potential: Array
) -> dict[str, Array]:
    """Return what the pre-training would give: its progress, no annealing of its own, and S2_cpt with the jump."""
    return {
        "progress_pt": checkpoint_forward_area,
        "annealing_area_pt": 0.0 * annealing_area_cpt,
        "annealing_area_cpt": annealing_area_cpt + loss_potential * jump_area_cpt,
        "C1": 0.0,
    }


def checkpoint_parameters(
    loss_at_reference: Array, alpha: Array, checkpoint_forward_area: Array, decline_over_doubling: Array
) -> dict[str, Array]:
    """Return what takes the place of parameters that only a known pre-training identifies.

    The base is read at the checkpoint. Its decline is that ahead of the checkpoint, over as much training again, of
    which pilots see the beginning: the decades before it trade off with alpha along a bend, since no pilot has seen
    them. It is a share of the loss, the same on all domains, as it is where pre-training is known: else the base would
    take over the gain on ``cpt``. Ratios and powers of the annealing of the pre-training play no part.
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
"""How a law of known pre-training does without it."""


def opened(law: Law, name: str) -> Law:
    """Return the form of a law of continual pre-training for a checkpoint whose pre-training is not known.

    If the law has model size: for checkpoints of one family, pre-trained alike at all sizes.
    """
    return replace(
        law,
        name=name,
        equation=f"{law.name} without C1 S2_pt; the checkpoint's forward area and loss potential are parameters",
        history=UNKNOWN,
    )
