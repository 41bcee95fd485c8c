"""Losses that are not in nats: bits, perplexity; and losses of another kind."""

from collections.abc import Iterator, Mapping

import numpy as np

from bayes_cpt.plausibility.findings import Finding, also
from bayes_cpt.plausibility.scatter import Measured, common_steps, measured_curves, some_pairs
from bayes_cpt.runs.curves import Curves

BITS = 1 / np.log(2)
"""Bits per nat."""
LEAST_COMMON = 3
"""Fewest steps at which two runs are compared."""
NEAR = 0.02
"""Share by which a ratio of two losses may differ from that of their units."""
UNTRAINED = 12.6
"""Loss in nats of a model that knows nothing, with a vocabulary of 300,000: no loss stays above it."""


EARLY = 0.1
"""Share of a run in which a model may still know nothing."""


def unit_of(loss: float, other: float) -> str | None:
    """Return which unit one of two losses of the same model seems to have, if the other is in nats.

    Examples
    --------
    >>> from bayes_cpt.plausibility.units import unit_of
    >>> unit_of(12.18, 2.5), unit_of(3.607, 2.5), unit_of(2.7, 2.5)
    ('perplexity', 'bits', None)
    """
    low, high = sorted((loss, other))
    if abs(high / low / BITS - 1) <= NEAR:
        return "bits"
    return "perplexity" if high > 1 and abs(np.log(high) / low - 1) <= NEAR and high / low > BITS else None


def loss_unit(curves: Curves) -> Iterator[Finding]:
    """Find runs whose losses are perplexities or bits."""
    measured = measured_curves(curves)
    yield from _never_trained(measured)
    yield from _twins_in_other_units(curves, measured)
    yield from _leaps_from_the_parent(curves, measured)


def _never_trained(measured: Mapping[tuple[str, str], Measured]) -> Iterator[Finding]:
    """Find curves that stay above the loss of an untrained model: perplexities."""
    high = {key: place for key, curve in measured.items() if (place := _second_above(curve)) is not None}
    if high:
        (run, domain), place = next(iter(high.items()))
        curve = measured[run, domain]
        loss, step = float(curve.loss[place]), int(curve.step[place])
        sentence = (
            f"run {run!r} has a loss of {loss:.5g} on {domain} at step {step:,}"
            f"{also(dict.fromkeys(name for name, _ in high), run)}, more than an untrained model ({UNTRAINED} nats): "
            f"is it a perplexity? Then give its logarithm, {np.log(loss):.4f}"
        )
        yield Finding("loss-unit", "warning", run, step, (loss, UNTRAINED), sentence)


def _second_above(curve: Measured) -> int | None:
    """Return the place of the second of two neighbouring losses that no model has; one alone is a spike."""
    above = (curve.loss > UNTRAINED) & (curve.step > EARLY * curve.step[-1])
    places = np.flatnonzero(above[1:] & above[:-1])
    return int(places[0]) + 1 if places.size else None


def _twins_in_other_units(curves: Curves, measured: Mapping[tuple[str, str], Measured]) -> Iterator[Finding]:
    """Find runs whose losses are to another's, at the steps in which they are one training, as bits or perplexities."""
    named: set[str] = set()
    for domain in dict.fromkeys(name for _, name in measured):
        for pair in some_pairs([curve for curve in measured.values() if curve.domain == domain]):
            replays = {curves.records[curve.run].replay for curve in pair if curves.records[curve.run].phase == "cpt"}
            common = common_steps(curves, *pair)
            if common.size < LEAST_COMMON or len(replays) > 1 or named & {curve.run for curve in pair}:
                continue
            losses = [curve.loss[np.isin(curve.step, common)] for curve in pair]
            units = [unit_of(*both) for both in zip(*losses, strict=True)]
            unit = max(set(units), key=units.count)
            if unit and units.count(unit) > 0.8 * len(units):
                (loss, run), (other_loss, other) = sorted(
                    ((float(loss[-1]), curve.run) for loss, curve in zip(losses, pair, strict=True)), reverse=True
                )
                named.add(run)
                sentence = (
                    f"run {run!r} has a loss of {loss:.5g} on {domain} at step {common[-1]:,}, {other!r} of "
                    f"{other_loss:.5g} in the same training: is the former in {unit}? Give all losses in nats per token"
                )
                yield Finding("loss-unit", "warning", run, int(common[-1]), (loss, other_loss), sentence)


def _leaps_from_the_parent(curves: Curves, measured: Mapping[tuple[str, str], Measured]) -> Iterator[Finding]:
    """Find runs, not measured at step 0, whose first losses are in another unit than the parent's on all domains."""
    for run, record in curves.records.items():
        pairs = [
            (curve, before)
            for (name, domain), curve in measured.items()
            if name == run and curve.step[0] > 0 and (before := _before(curves, measured, run, domain)) is not None
        ]
        units = {unit_of(curve.loss[0], before) for curve, before in pairs}
        if len(pairs) > 1 and len(units) == 1 and (unit := units.pop()) is not None:
            curve, before = pairs[0]
            loss, step = float(curve.loss[0]), int(curve.step[0])
            larger = "this run" if loss > before else f"run {record.parent!r}"
            sentence = (
                f"run {run!r} starts with a loss of {loss:.5g} on {curve.domain} at step {step:,}, and "
                f"{record.parent!r} has {before:.5g} at step {record.parent_step:,}, where it starts: is {larger} in "
                f"{unit}? Give all losses in nats per token"
            )
            yield Finding("loss-unit", "warning", run, step, (loss, before), sentence)
            return


def _before(curves: Curves, measured: Mapping[tuple[str, str], Measured], run: str, domain: str) -> float | None:
    """Return the last loss of the parent up to the step at which a run starts."""
    record = curves.records[run]
    curve = measured.get((record.parent or "", domain))
    if curve is None or not (curve.step <= record.parent_step).any():
        return None
    return float(curve.loss[curve.step <= record.parent_step][-1])
