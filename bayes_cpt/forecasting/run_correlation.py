"""How alike two planned runs' departures from the law are: the more, the nearer their settings.

The law errs by setting more than by run: two runs of microcpt that differ in data order alone differ in their shift by
0.2 % (pt) and 1.1 % (cpt), where runs of other settings are off by some 3 %. So of two runs planned from one parent,
the difference is known better than the level. Amplitudes are a Gaussian process over the settings, written as waves of
random frequencies (Rahimi & Recht 2007): so a run's forecast does not hang on what is planned beside it.
"""

from collections.abc import Sequence

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.runs.curves import Curves

OWN_SHARE = 0.1
"""Of the variance of an amplitude: what the order of the data does."""
LENGTHS = np.array([0.3, 0.7, 0.7])
"""Distances over which amplitudes differ: in replay ratio, and in logs of peak LR and forward area."""
WAVES = 32


def kindred(curves: Curves, run: str) -> bool:
    """Whether a run's departure is like that of others: it goes on from a parent, or from an open checkpoint."""
    link = curves.records[run]
    return link.parent is not None or link.phase == "cpt"


def waves(curves: Curves, run: str) -> FloatArray:
    """Return a run's place among the settings, (``WAVES``,); two runs' product is how alike they are, up to 1."""
    rates = curves.learning_rate(run)
    link = curves.records[run]
    replay = link.replay if link.phase == "cpt" else 0.0  # none in pre-training
    place = np.array([replay, np.log(rates.max()), np.log(rates.sum())])
    random = np.random.default_rng(1)
    frequencies, phases = random.standard_normal((WAVES, 3)), random.uniform(0, 2 * np.pi, WAVES)
    found = np.cos(frequencies @ (place / LENGTHS) + phases)
    return found / np.linalg.norm(found)


def correlation(curves: Curves, effects: Sequence[tuple[str, str | int]]) -> FloatArray:
    """Return how effects (component, run) of planned runs are correlated, (effects, effects)."""
    places = {run: waves(curves, run) for _name, run in effects if isinstance(run, str) and kindred(curves, run)}

    def between(one: tuple[str, str | int], other: tuple[str, str | int]) -> float:
        (name, run), (other_name, other_run) = one, other
        if one == other:
            return 1.0
        if name != other_name or not isinstance(run, str) or not isinstance(other_run, str):
            return 0.0
        if (
            run not in places
            or other_run not in places
            or curves.records[run].parent != curves.records[other_run].parent
        ):
            return 0.0
        return (1 - OWN_SHARE) * float(places[run] @ places[other_run])

    return np.array([[between(one, other) for other in effects] for one in effects]).reshape(len(effects), len(effects))
