"""Coefficients of the laws from what is sampled: quantities that a loss curve shows.

The laws' own coefficients are hardly identified (Wang et al. 2025: B = 29.1 with beta = .001 fits as well as B = .28
with beta = .36). A loss, a drop, a change at a reference amount of training are.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array

SHIFT_SIGN: Mapping[str, int] = MappingProxyType({"pt": 1, "cpt": -1})
"""CPT raises the loss on ``pt`` (forgetting) and lowers it on ``cpt`` (gain): the signs of B in Eq. 4."""


class Reference(NamedTuple):
    """The amounts of training at which a law's observable parameters are read.

    Parameters
    ----------
    forward_area
        Largest forward area of both phases in the data (LR x steps).
    forward_area_cpt
        Largest forward area of continual pre-training in the data (LR x steps).
    learning_rate
        Largest LR in the data.
    shift_sign
        +1 where continual pre-training raises the loss, -1 where it lowers it.
    model_size
        Largest model in the data, millions of parameters; NaN if not given.
    batch_tokens
        Tokens of the step that areas count; NaN if not given.
    length_cpt
        Most steps of continual pre-training in the data.
    """

    forward_area: float
    forward_area_cpt: float
    learning_rate: float
    shift_sign: int
    model_size: float = np.nan
    batch_tokens: float = np.nan
    length_cpt: float = np.nan


def _base(loss_at_reference: Array, decline_over_decade: Array, alpha: Array, forward_area: Array) -> dict[str, Array]:
    reducible = decline_over_decade / np.expm1(alpha * np.log(10))
    return {"L0": loss_at_reference - reducible, "A": reducible * forward_area**alpha, "alpha": alpha}


def _shift(shift_at_reference: Array, shift_speed: Array, beta: Array, reference: Reference) -> dict[str, Array]:
    B = reference.shift_sign * shift_at_reference / -np.expm1(-beta * np.log1p(shift_speed))
    return {"B": B, "E": shift_speed / reference.forward_area_cpt, "beta": beta}


def annealing_coefficients(
    reference: Reference,
    *,
    memory: Array,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    annealing_drop: Array,
) -> dict[str, Array]:
    """Coefficients of Eq. 1; ``annealing_drop`` is the loss won by annealing fully from the largest LR."""
    base = _base(loss_at_reference, decline_over_decade, alpha, reference.forward_area)
    return base | {"C": annealing_drop / (reference.learning_rate * memory)}


def cpt_coefficients(
    reference: Reference,
    *,
    memory: Array,
    loss_at_reference: Array,
    decline_over_decade: Array,
    alpha: Array,
    annealing_drop: Array,
    annealing_ratio: Array,
    shift_at_reference: Array,
    shift_speed: Array,
    beta: Array,
    **replay: Array,
) -> dict[str, Array]:
    """Coefficients of Eq. 4; ``annealing_ratio`` is C2 / C1, ``shift_speed`` is E x the reference S1_cpt.

    What is left over (the replay form's parameters) is passed on as it is.
    """
    C1 = annealing_drop / (reference.learning_rate * memory)
    base = _base(loss_at_reference, decline_over_decade, alpha, reference.forward_area)
    shift = _shift(shift_at_reference, shift_speed, beta, reference)
    return base | {"C1": C1, "C2": C1 * annealing_ratio} | shift | replay


def exponential_coefficients(reference: Reference, a2: Array, **rest: Array) -> dict[str, Array]:
    """Coefficients of Eq. 8, whose B multiplies a factor that is not 1 at no replay."""
    coefficients = cpt_coefficients(reference, **rest)
    no_replay = reference.shift_sign * -np.expm1(-reference.shift_sign * a2)
    return coefficients | {"B": coefficients["B"] / no_replay, "a2": a2}


def power_coefficients(reference: Reference, *, zeta1: Array, zeta2: Array, **rest: Array) -> dict[str, Array]:
    """Coefficients of Eq. 10, whose C1 and C2 multiply powers of the share of a full annealing."""
    coefficients = cpt_coefficients(reference, **rest)
    full = reference.learning_rate * rest["memory"]
    annealing = {name: coefficients[name] * full for name in ("C1", "C2") if name in coefficients}
    return coefficients | annealing | {"full_area": full, "zeta1": zeta1, "zeta2": zeta2}


def size_coefficients(
    reference: Reference, *, size_term: Array, g1: Array, g2: Array, g3: Array, **rest: Array
) -> dict[str, Array]:
    """Coefficients of Eq. 7; ``size_term`` is F N^-g3 at the reference size, which the loss there includes."""
    coefficients = cpt_coefficients(reference, **rest)
    log_size = np.log(reference.model_size)
    return coefficients | {
        "L0": coefficients["L0"] - size_term,
        "C1": coefficients["C1"] * np.exp(-g1 * log_size),
        "C2": coefficients["C2"] * np.exp(-g2 * log_size),
        "F": size_term * np.exp(g3 * log_size),
        "g1": g1,
        "g2": g2,
        "g3": g3,
    }


def domain_cpt_coefficients(
    reference: Reference,
    *,
    final_loss: Array,
    size_term: Array,
    a: Array,
    length_term: Array,
    h: Array,
    b: Array,
    share_term: Array,
    e: Array,
    g: Array,
) -> dict[str, Array]:
    """Coefficients of the D-CPT law from the loss at the reference size and length with the domain's data alone.

    ``size_term`` and ``length_term`` are A / N^a and B / D^b there, ``share_term`` what the whole share wins.
    """
    at_none, at_all = np.exp(-g * np.log(e)), np.exp(-g * np.log1p(e))
    C = share_term / (at_none - at_all)
    return {
        "E": final_loss - size_term - length_term - C * at_all,
        "A": size_term * np.exp(a * np.log(reference.model_size)),
        "a": a,
        "B": length_term * np.exp(b * np.log(reference.length_cpt)),
        "h": h,
        "b": b,
        "C": C,
        "e": e,
        "g": g,
    }


def data_mixing_coefficients(
    reference: Reference, *, final_loss: Array, share_term: Array, t: Array
) -> dict[str, Array]:
    """Coefficients of the data mixing law; ``final_loss`` is that with the domain's data alone."""
    del reference
    k = share_term / -np.expm1(-t)
    return {"c": final_loss - k * np.exp(-t), "k": k, "t": t}
