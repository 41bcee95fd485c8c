"""What parameters mean, in words, and what runs may lack to inform them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from bayes_cpt.statistical_model.discrepancy import COMPONENTS

BASE, ANNEALING, SHIFT, REPLAY = "base loss", "annealing", "shift by the new data", "replay"
LENGTH, SIZE, CHECKPOINT = "length of CPT", "model size", "checkpoint"
NOISE, OUT_OF_DOMAIN, OTHER = "noise and misfit", "out-of-domain sets", "other parameters"
GROUPS = (BASE, ANNEALING, SHIFT, REPLAY, LENGTH, SIZE, CHECKPOINT, OUT_OF_DOMAIN, OTHER, NOISE)
"""Parts of a model, in the order of a report."""


class Meaning(NamedTuple):
    """What a parameter means.

    Parameters
    ----------
    group
        The part of the model.
    words
        What of it. Parameters of a group with the same words are reported together, by the least informed.
    gaps
        Topics of `bayes_cpt.runs.identifiability.Gap`: what runs may lack to inform it.
    """

    group: str
    words: str
    gaps: tuple[str, ...] = ()


_OF_BASE = ("pt",)
_OF_ANNEALING = ("annealing_pt", "annealing_cpt")

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "loss_at_reference": Meaning(BASE, "its level", ("pt", "start")),
        "decline_over_decade": Meaning(BASE, "its decline", _OF_BASE),
        "decline_over_doubling": Meaning(BASE, "its decline", _OF_BASE),
        "alpha": Meaning(BASE, "its shape", _OF_BASE),
        "forward_power": Meaning(BASE, "its power of the LR", _OF_BASE),
        "annealing_drop": Meaning(ANNEALING, "its size", _OF_ANNEALING),
        "memory": Meaning(ANNEALING, "its speed", _OF_ANNEALING),
        "annealing_ratio": Meaning(ANNEALING, "its size in CPT over that in PT", _OF_ANNEALING),
        "rate_weight": Meaning(ANNEALING, "its power of the LR", _OF_ANNEALING),
        "rate_power": Meaning(ANNEALING, "its power of the LR", _OF_ANNEALING),
        "level_power": Meaning(ANNEALING, "its power of the LR", _OF_ANNEALING),
        "response_power": Meaning(ANNEALING, "its speed at a low LR", _OF_ANNEALING),
        "tail": Meaning(ANNEALING, "the tail of its memory", _OF_ANNEALING),
        "zeta1": Meaning(ANNEALING, "its exponent in PT", ("annealing_pt",)),
        "zeta2": Meaning(ANNEALING, "its exponent in CPT", ("annealing_cpt",)),
        "shift_at_reference": Meaning(SHIFT, "its size", ("cpt",)),
        "shift_speed": Meaning(SHIFT, "its speed", ("cpt", "length")),
        "beta": Meaning(SHIFT, "its shape", ("cpt", "length")),
        "rate_exponent": Meaning(SHIFT, "its dependence on the peak LR", ("peak",)),
        "replay_scale": Meaning(REPLAY, "its effect at small shares", ("replay",)),
        "replay_exponent": Meaning(REPLAY, "its effect at large shares", ("replay",)),
        "replay_slowing": Meaning(REPLAY, "its slowing of the shift", ("replay",)),
        "replay_weight_steepest": Meaning(REPLAY, "its effect at small shares", ("replay",)),
        "replay_weight_steep": Meaning(REPLAY, "its effect at small shares", ("replay",)),
        "replay_weight_even": Meaning(REPLAY, "its effect at large shares", ("replay",)),
        "replay_weight_late": Meaning(REPLAY, "its effect at large shares", ("replay",)),
        "a1": Meaning(REPLAY, "its effect on annealing", ("replay",)),
        "a2": Meaning(REPLAY, "its effect on the size of the shift", ("replay",)),
        "size_term": Meaning(SIZE, "its contribution", ("size",)),
        "g1": Meaning(SIZE, "its effect on annealing in PT", ("size",)),
        "g2": Meaning(SIZE, "its effect on annealing in CPT", ("size",)),
        "g3": Meaning(SIZE, "its exponent", ("size",)),
        "checkpoint_forward_area": Meaning(CHECKPOINT, "the length of its pre-training", ("history",)),
        "loss_potential": Meaning(CHECKPOINT, "its loss potential", ("history",)),
        "noise_floor": Meaning(NOISE, "the noise"),
        "noise_learning_rate": Meaning(NOISE, "the noise"),
        "noise_shift": Meaning(NOISE, "the noise"),
        "smooth_scale": Meaning(NOISE, "the misfit over a curve"),
        "warmup_scale": Meaning(NOISE, "the misfit over a curve"),
        "size_scale": Meaning(NOISE, "the misfit by model size"),
        "transfer_scale": Meaning(NOISE, "the difference between runs of continual pre-training"),
        "peak_scale": Meaning(NOISE, "the misfit by peak LR"),
        "offset_scale": Meaning(NOISE, "the difference between runs from scratch"),
        "annealing_scale": Meaning(NOISE, "the difference of annealing between runs"),
        "annealing_by_replay_scale": Meaning(NOISE, "the difference of annealing between replay ratios"),
        "shift_scale": Meaning(NOISE, "the difference of the shift between runs"),
        "shape_scale": Meaning(NOISE, "the misfit over a curve"),
        "k_pt": Meaning(OUT_OF_DOMAIN, "the part of pt"),
        "k_cpt": Meaning(OUT_OF_DOMAIN, "the part of cpt"),
        "k_scale": Meaning(OUT_OF_DOMAIN, "the difference of the parts between runs"),
        "out_of_domain_noise_floor": Meaning(OUT_OF_DOMAIN, "the noise"),
        "out_of_domain_noise_learning_rate": Meaning(OUT_OF_DOMAIN, "the noise"),
    }
)
"""Meanings of the parameters of laws of curves."""

OF_FINAL_LOSSES: Mapping[str, Meaning] = MappingProxyType(
    {
        "final_loss": Meaning(BASE, "its level"),
        "a": Meaning(SIZE, "its exponent", ("size",)),
        "length_term": Meaning(LENGTH, "its contribution", ("length",)),
        "b": Meaning(LENGTH, "its exponent", ("length",)),
        "h": Meaning(REPLAY, "its effect on the gain by length", ("replay",)),
        "share_term": Meaning(REPLAY, "its size", ("replay",)),
        "e": Meaning(REPLAY, "its effect at small shares", ("replay",)),
        "g": Meaning(REPLAY, "its effect at large shares", ("replay",)),
        "t": Meaning(REPLAY, "its speed", ("replay",)),
    }
)
"""Meanings of the parameters of laws of final losses, beside those above; other laws may use the same letters."""


def meaning_of(parameter: str, *, final: bool) -> Meaning:
    """Return what a parameter means; of one of a user's law, only its name is known."""
    known = {**MEANINGS, **OF_FINAL_LOSSES} if final else MEANINGS
    own_component = parameter.removesuffix("_scale") in COMPONENTS and parameter.endswith("_scale")
    return known.get(parameter, Meaning(NOISE if own_component else OTHER, parameter))
