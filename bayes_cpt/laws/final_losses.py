"""Laws of the final losses of runs: the D-CPT law and the data mixing law.

Each is complete in this file, from the formulas to the ``Law``: examples of how to write a law (docs/extend.md).

Sources: Que et al. 2024, arXiv 2406.01375 (D-CPT); Ye et al. 2024, arXiv 2403.16952 (data mixing).
"""

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.laws.law import DOMAINS, Law, Term
from bayes_cpt.laws.memory_kernels import NONE

# The D-CPT law: E + A / N^a + B r^h / D^b + C / (r + e)^g, with r the share of the domain's own data, N the model's
# parameters in millions, D the steps of continual pre-training. The first two terms count as base, the rest as shift.


def size_base(model_size: Array, E: Array, A: Array, a: Array) -> Array:
    """Return ``E + A / N^a``."""
    return E + A * np.exp(-a * np.log(model_size))


def share_factor(share_term: Array, e: Array, g: Array) -> Array:
    """Return C, if the loss falls by ``share_term`` from a share of 0 to a share of 1."""
    return share_term / (np.exp(-g * np.log(e)) - np.exp(-g * np.log1p(e)))


def size_base_coefficients(
    *,
    final_loss: Array,
    size_term: Array,
    a: Array,
    length_term: Array,
    share_term: Array,
    e: Array,
    g: Array,
    largest_model_size: Array,
) -> dict[str, Array]:
    """Return E and A.

    ``final_loss`` is that of the largest model after the longest run on the domain's data alone; ``size_term`` and
    ``length_term`` are the contributions of A / N^a and B / D^b to it.
    """
    left = share_factor(share_term, e, g) * np.exp(-g * np.log1p(e))
    return {
        "E": final_loss - size_term - length_term - left,
        "A": size_term * np.exp(a * np.log(largest_model_size)),
    }


def length_and_share(
    *, own_share: Array, length_cpt: Array, B: Array, h: Array, b: Array, C: Array, e: Array, g: Array
) -> Array:
    """Return ``B r^h / D^b + C / (r + e)^g``."""
    return B * own_share**h * np.exp(-b * np.log(length_cpt)) + C * np.exp(-g * np.log(own_share + e))


def length_and_share_coefficients(
    *, length_term: Array, b: Array, share_term: Array, e: Array, g: Array, longest_cpt: Array
) -> dict[str, Array]:
    """Return B and C."""
    return {"B": length_term * np.exp(b * np.log(longest_cpt)), "C": share_factor(share_term, e, g)}


D_CPT = Law(
    name="d-cpt",
    equation="E + A / N^a + B r^h / D^b + C / (r + e)^g, r the domain's own share (Que et al. 2024)",
    base=Term(size_base, size_base_coefficients),
    shift=dict.fromkeys(DOMAINS, Term(length_and_share, length_and_share_coefficients)),
    memory_kernel=NONE,
)

# The data mixing law: c + k exp(-t r). With two domains the shares add to 1, so the sum over domains in the exponent
# identifies only one rate t.


def constant_base(own_share: Array, c: Array) -> Array:
    """Return ``c`` at every point."""
    return c + 0.0 * own_share


def constant_base_coefficients(final_loss: Array, share_term: Array, t: Array) -> dict[str, Array]:
    """Return c; ``final_loss`` is the final loss with the domain's data alone."""
    return {"c": final_loss - decay_coefficients(share_term, t)["k"] * np.exp(-t)}


def decay(own_share: Array, k: Array, t: Array) -> Array:
    """Return ``k exp(-t r)``."""
    return k * np.exp(-t * own_share)


def decay_coefficients(share_term: Array, t: Array) -> dict[str, Array]:
    """Return k, if the loss falls by ``share_term`` from a share of 0 to a share of 1."""
    return {"k": share_term / -np.expm1(-t)}


DATA_MIXING = Law(
    name="data-mixing",
    equation="c + k e^(-t r), r the domain's own share (Ye et al. 2024)",
    base=Term(constant_base, constant_base_coefficients),
    shift=dict.fromkeys(DOMAINS, Term(decay, decay_coefficients)),
    memory_kernel=NONE,
)
