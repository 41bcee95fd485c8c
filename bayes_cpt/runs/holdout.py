"""Measurements left out of a fit, to be forecast and scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import IntArray
from bayes_cpt.runs.curves import Curves

AFTER_ALL = np.iinfo(np.int64).max
"""A step after all steps."""


@dataclass(frozen=True)
class Holdout:
    """Measurements that are left out together: a fold of a backtest.

    Parameters
    ----------
    name
        Name of the fold.
    first_step
        By run, the first step that is left out; 0 leaves out the whole run, as if it did not exist.
    """

    name: str = "nothing"
    first_step: Mapping[str, int] = field(default=MappingProxyType({}), hash=False)

    def first_steps(self, runs: Sequence[str]) -> IntArray:
        """Return the first step left out of each run, (runs,); ``AFTER_ALL`` if none is."""
        return np.array([self.first_step.get(run, AFTER_ALL) for run in runs], dtype=np.int64)

    def fitted(self, curves: Curves) -> Curves:
        """Return the curves to fit: without whole runs left out, and without losses from a first step left out on."""
        whole = [run for run, step in self.first_step.items() if step == 0]
        left = curves.without(whole)
        return left.with_losses(left.losses[left.losses["step"] < self._first(left.losses)])

    def unseen(self, curves: Curves) -> Curves:
        """Return the runs left out, with the losses to forecast; those of step 0 belong to the checkpoint."""
        left_out = curves.only(list(self.first_step))
        losses = left_out.losses[left_out.losses["step"] >= self._first(left_out.losses).clip(lower=1)]
        return left_out.only(left_out.losses["run"].unique()).with_losses(losses)

    def _first(self, losses: pd.DataFrame) -> pd.Series:
        return losses["run"].map(dict(self.first_step)).astype(float).fillna(np.inf)


NOTHING = Holdout()
"""Leaves nothing out: all curves are fitted."""
