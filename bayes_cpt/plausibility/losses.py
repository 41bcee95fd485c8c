"""Losses that contradict what the runs are said to be: replay ratios, repeated data, the training loss given as cpt."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.domain_names import DomainNames
from bayes_cpt.plausibility.findings import Finding
from bayes_cpt.plausibility.scatter import Measured, common_steps, measured_curves, rates_at, some_pairs
from bayes_cpt.runs.curves import Curves

CLEAR = 6.0
"""Least difference of two losses that noise does not explain, in units of its standard deviation."""
SHARE = 0.05
"""Least rise of a loss, as a share of its fall before, that is more than the wander of a curve."""
STEADY = 1.05
"""Least rise of the LR, as a ratio, that may make a loss rise."""
KEPT = 0.6
"""Share of the gain on cpt that runs without new data cannot have: measured runs have up to .26 of it."""
NO_EFFECT = 0.25
"""Least difference of two replay ratios that must show."""
TINY = 0.02
"""Largest difference of two replay ratios that cannot cost much of the gain on cpt."""


class Twins(NamedTuple):
    """Two runs that differ in replay, the second has more: their losses at a step, and the noise of a difference.

    Parameters
    ----------
    less, more, step
        The runs and the step.
    replay
        Their ratios.
    pt, cpt
        Their losses.
    start
        Losses of the checkpoint on pt and cpt; NaN if unknown.
    noise
        Standard deviation of the difference of two losses, on pt and cpt.
    names
        What pt and cpt are called.
    """

    less: str
    more: str
    step: int
    replay: tuple[float, float]
    pt: tuple[float, float]
    cpt: tuple[float, float]
    start: tuple[float, float]
    noise: tuple[float, float]
    names: DomainNames

    @property
    def numbers(self) -> tuple[float, ...]:
        """Ratios and losses, for a finding."""
        return (*self.replay, *self.pt, *self.cpt)


def _twins(curves: Curves, measured: Mapping[tuple[str, str], Measured], place: int) -> Iterator[Twins]:
    """Yield pairs of runs that differ in replay alone, at the first (0) or the last (-1) step that both measured."""
    names = curves.names
    of_cpt = [
        run
        for run, record in curves.records.items()
        if record.phase == "cpt" and all((run, domain) in measured for domain in names)
    ]
    for pair in some_pairs(sorted(of_cpt, key=lambda run: curves.records[run].replay)):
        less, more = pair
        replay = (curves.records[less].replay, curves.records[more].replay)
        cpt, pt = ([measured[run, domain] for run in pair] for domain in (names.cpt, names.pt))
        common = np.intersect1d(common_steps(curves, *cpt), common_steps(curves, *pt))
        if replay[0] == replay[1] or not common.size:
            continue
        step = int(common[place])
        yield Twins(
            less,
            more,
            step,
            replay,
            (pt[0].at(step), pt[1].at(step)),
            (cpt[0].at(step), cpt[1].at(step)),
            (_start(curves, measured, less, names.pt), _start(curves, measured, less, names.cpt)),
            (_noise(*pt), _noise(*cpt)),
            names,
        )


def _noise(first: Measured, second: Measured) -> float:
    """Return the standard deviation of the noise of a difference of two losses."""
    return float(np.hypot(first.scatter, second.scatter))


def _start(curves: Curves, measured: Mapping[tuple[str, str], Measured], run: str, domain: str) -> float:
    """Return the loss of the checkpoint of a run: its own at step 0, or that of its parent there; NaN if unknown."""
    own, record = measured[run, domain].at(0), curves.records[run]
    parent = measured.get((record.parent or "", domain))
    return parent.at(record.parent_step) if np.isnan(own) and parent is not None else own


def replay_contradicted(curves: Curves) -> Iterator[Finding]:
    """Find replay ratios that the curves contradict."""
    measured = measured_curves(curves)
    pairs = list(_twins(curves, measured, -1))
    for contradiction in (_reversed, _moves_without_data, _without_effect, _tiny_with_effect):
        for twins in pairs:
            if (meaning := contradiction(twins)) is not None:
                less, more = (f"{run!r} (replay {ratio:g})" for run, ratio in zip(twins[:2], twins.replay, strict=True))
                on_pt, on_cpt = (f"{one:.4g} and {other:.4g}" for one, other in (twins.pt, twins.cpt))
                sentence = (
                    f"runs {less} and {more} have the losses {on_pt} on {curves.names.pt}, {on_cpt} on "
                    f"{curves.names.cpt} at step {twins.step:,}: {meaning}? Replay is the share of pre-training data, "
                    "from 0 to 1"
                )
                yield Finding("replay-contradicted", "warning", twins.more, twins.step, twins.numbers, sentence)
                return


def _reversed(twins: Twins) -> str | None:
    """Say if more replay goes with more forgetting and more learning."""
    forgets, learns = twins.pt[1] - twins.pt[0], twins.cpt[0] - twins.cpt[1]
    if forgets > CLEAR * twins.noise[0] and learns > CLEAR * twins.noise[1]:
        return (
            "the one with more replay forgets more and learns more; is it the share of new data, or is 1 one per cent"
        )
    return None


def _moves_without_data(twins: Twins) -> str | None:
    """Say if a run without new data learns them nearly as well as another."""
    gains = [twins.start[1] - loss for loss in twins.cpt]
    if twins.replay[1] == 1 and gains[0] > CLEAR * twins.noise[1] and gains[1] > KEPT * gains[0]:
        return (
            f"without new data the loss on {twins.names.cpt} falls by {gains[1]:.3g}, with them by {gains[0]:.3g}; "
            "is 1 one per cent"
        )
    return None


def _without_effect(twins: Twins) -> str | None:
    """Say if much more replay changes nothing where there is much to change."""
    forgotten, learnt = twins.pt[0] - twins.start[0], twins.start[1] - twins.cpt[0]
    matters = forgotten > 3 * CLEAR * twins.noise[0] and learnt > 3 * CLEAR * twins.noise[1]
    same = twins.pt[0] - twins.pt[1] < 0.1 * forgotten and twins.cpt[1] - twins.cpt[0] < 0.05 * learnt
    if matters and same and twins.replay[1] - twins.replay[0] >= NO_EFFECT:
        return "so much more replay changes hardly anything; is it a per cent, and not a share"
    return None


def _tiny_with_effect(twins: Twins) -> str | None:
    """Say if hardly more replay costs much of what is learnt."""
    learnt, lost = twins.start[1] - twins.cpt[0], twins.cpt[1] - twins.cpt[0]
    if twins.replay[1] - twins.replay[0] <= TINY and lost > max(CLEAR * twins.noise[1], 0.1 * learnt):
        return f"so little more replay costs much of what is learnt on {twins.names.cpt}; was a share divided by 100"
    return None


def mixture_as_cpt(curves: Curves) -> Iterator[Finding]:
    """Find first losses on cpt that fall with the replay ratio, as those of the training data do."""
    for twins in _twins(curves, measured_curves(curves), 0):
        lower = twins.cpt[0] - twins.cpt[1]
        remembers = twins.pt[0] - twins.pt[1] > -twins.noise[0]
        if lower > CLEAR * twins.noise[1] and remembers:
            sentence = (
                f"run {twins.more!r} with replay {twins.replay[1]:g} has a loss of {twins.cpt[1]:.4g} on "
                f"{curves.names.cpt} at step {twins.step:,}, {twins.less!r} with {twins.replay[0]:g} has "
                f"{twins.cpt[0]:.4g}: with more replay the loss on new data falls more slowly, that of the mixture is "
                f"lower; is it the training loss? Give the loss on held-out {curves.names.cpt} data"
            )
            yield Finding("mixture-as-cpt", "warning", twins.more, twins.step, twins.cpt, sentence)
            return


def rising_loss(curves: Curves) -> Iterator[Finding]:
    """Find losses on the data of a run's phase that fall and then rise, while the LR does not."""
    for curve in measured_curves(curves).values():
        record = curves.records[curve.run]
        if record.phase != curves.names.role(curve.domain) or record.replay == 1 or curve.step.size < 6:
            continue
        smooth = np.array([np.median(curve.loss[max(k - 1, 0) : k + 2]) for k in range(curve.loss.size)])
        lowest = int(smooth.argmin())
        later, rate = smooth[lowest:], rates_at(curves, curve.run, curve.step)
        fall, rise = float(smooth[0] - smooth[lowest]), float(smooth[-1] - smooth[lowest])
        goes_on = later.size > 2 and np.median(later[later.size // 2 :]) > np.median(later[: later.size // 2])
        if rise > CLEAR * curve.scatter and rise > SHARE * fall and fall > CLEAR * curve.scatter and goes_on:
            if rate[lowest:].max() > STEADY * rate[lowest]:
                continue
            step, end = int(curve.step[lowest]), int(curve.step[-1])
            sentence = (
                f"run {curve.run!r}: the loss on {curve.domain} falls to {curve.loss[lowest]:.5g} at step {step:,} "
                f"and rises to {curve.loss[-1]:.5g} at step {end:,}, while the LR does not rise: repeated data "
                "(several epochs)? No law describes that; leave out what follows the lowest loss, or use more data"
            )
            numbers = (float(curve.loss[lowest]), float(curve.loss[-1]))
            yield Finding("rising-loss", "warning", curve.run, step, numbers, sentence)
