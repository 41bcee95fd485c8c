"""Correlation of the effects of planned runs: the closer their settings, the higher.

Errors of the law depend more on settings than on the run: two runs of microcpt that differ only in the order of their
data differ in their shift by 0.2 % (pt) and 1.1 % (cpt), whereas runs with other settings are off by about 3 %. The
difference of two runs planned from one parent is therefore better known than their level. Effects are a Gaussian
process over the settings, represented by random Fourier features (Rahimi & Recht, *Random features for large-scale
kernel machines*, NeurIPS 2007), so the forecast of a run does not depend on the other runs of the plan.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from zlib import crc32

import numpy as np

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.runs.curves import Curves

INDEPENDENT_SHARE = 0.1
"""Share of the variance of an effect that does not depend on settings, such as that of the order of the data."""
LENGTHS = np.array([0.3, 0.7, 0.7])
"""Length scales of the Gaussian process: in replay ratio, log peak LR and log forward area."""
WAVES = 32
"""Number of random Fourier features."""


def kindred(curves: Curves, run: str) -> bool:
    """Return whether a run's effects are correlated with others: runs with a parent, or from an open checkpoint."""
    record = curves.records[run]
    return record.parent is not None or record.phase == "cpt"


def waves(curves: Curves, run: str) -> FloatArray:
    """Return the features of a run's settings, (``WAVES``,); their product of two runs is a correlation."""
    rates = curves.learning_rate(run)
    record = curves.records[run]
    replay = record.replay if record.phase == "cpt" else 0.0  # none in pre-training
    place = np.array([replay, np.log(rates.max()), np.log(rates.sum())])
    random = np.random.default_rng(1)
    frequencies, phases = random.standard_normal((WAVES, 3)), random.uniform(0, 2 * np.pi, WAVES)
    found = np.cos(frequencies @ (place / LENGTHS) + phases)
    return found / np.linalg.norm(found)


def correlation(curves: Curves, effects: Sequence[tuple[str, str | int]]) -> FloatArray:
    """Return the correlation matrix (effects, effects) of effects (component, run) of planned runs."""
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
        return (1 - INDEPENDENT_SHARE) * float(places[run] @ places[other_run])

    return np.array([[between(one, other) for other in effects] for one in effects]).reshape(len(effects), len(effects))


def new_effects(
    curves: Curves, scales: Mapping[str, FloatArray], seed: int, domain: str
) -> Callable[[str, str | int], FloatArray]:
    """Return a function that draws effects of planned runs: an own part, and one common to similar runs."""

    @cache
    def common(component: str, parent: str | None) -> FloatArray:
        scale = np.tile(scales[f"{component}_scale"], (WAVES, 1))
        return keyed_draws(scale, seed, f"{component} from {parent} {domain}")

    @cache
    def place(run: str) -> FloatArray:
        return waves(curves, run)

    def effect(component: str, label: str | int) -> FloatArray:
        own = keyed_draws(scales[f"{component}_scale"], seed, f"{component} {label} {domain}")
        if not isinstance(label, str) or not kindred(curves, label):
            return own
        shared = place(label) @ common(component, curves.records[label].parent)
        return np.sqrt(INDEPENDENT_SHARE) * own + np.sqrt(1 - INDEPENDENT_SHARE) * shared

    return effect


def keyed_draws(scale: FloatArray, seed: int, key: str) -> FloatArray:
    """Return normal draws of a scale; they depend on the seed and the key alone."""
    return scale * np.random.default_rng([seed, crc32(key.encode())]).standard_normal(scale.shape)
