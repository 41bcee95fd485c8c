"""Progress: the forward area of the base, in which a step counts by a power of its learning rate (LR).

In the paper's law, S1^-alpha falls by the sum of the LR, a power of 1. On public pre-training curves and on the shipped
ones steps at a low LR bring the base forward by more than their share: docs/lab-log/discrepancy.md has the evidence. As
the power is sampled, progress is kept as rows over a grid of powers, like the annealing areas
(`bayes_cpt.laws.memory_kernels`).
"""

import numpy as np

from bayes_cpt._support.typing import Array, FloatArray, IntArray
from bayes_cpt.laws.areas import forward_area
from bayes_cpt.laws.memory_kernels import grid_weights
from bayes_cpt.runs.lineage import Phase

FORWARD_POWERS: FloatArray = np.linspace(0, 1.5, 13)
"""Grid of the power; interpolation on it is right to about a thousandth of the progress."""


def progress_rows(phase: Phase, position: IntArray, peak: float) -> FloatArray:
    """Sum of peak x (LR / peak)^power x tokens over the steps done, (powers, points); that of power 1 is S1."""
    share = phase.learning_rate / peak
    return np.array(
        [
            # a step at an LR of 0 brings nothing, whatever the power
            forward_area(phase._replace(learning_rate=peak * np.where(share > 0, share**power, 0.0)))[position]
            for power in FORWARD_POWERS
        ]
    )


def progress_weights(forward_power: Array) -> Array:
    """Weights (..., powers) that interpolate on ``FORWARD_POWERS``."""
    return grid_weights(forward_power, FORWARD_POWERS)
