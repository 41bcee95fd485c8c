"""Published final losses by replay ratio, fitted by each replay form and each law of final losses.

    uv run python benchmarks/replay.py

For each table and domain: the loss is a constant plus an amplitude times the form (two amplitudes for D-CPT). Shapes
are the modes under the shipped models' priors, amplitudes least squares. Printed: the largest error of a fit to all
ratios, and the mean error at inner ratios left out one at a time. No intervals: these are point fits.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.laws.law import DOMAINS
from bayes_cpt.laws.replay import left_of_shift, reached_of_shift
from bayes_cpt.statistical_model.model_files import read_spec

NOISE = 0.005
"""Standard deviation of a printed final loss, nats: it weighs the data against the priors of the shape."""
STARTS = 12


class Table(NamedTuple):
    """Final losses by replay ratio."""

    replay_ratio: FloatArray
    losses: Mapping[str, FloatArray]


TABLES = {
    # Ibrahim et al. 2024, arXiv 2403.08763: 405M model, Pile, then 200B tokens of German
    "Pile -> German, 405M": Table(
        np.array([0, 0.01, 0.05, 0.1, 0.25, 0.5]),
        {
            "pt": np.array([3.56, 2.83, 2.57, 2.46, 2.33, 2.24]),
            "cpt": np.array([1.11, 1.12, 1.12, 1.13, 1.16, 1.22]),
        },
    ),
    # Que et al. 2024, arXiv 2406.01375
    "D-CPT": Table(
        1 - np.array([0.9, 0.91, 0.92, 0.924, 0.93, 0.94, 1.0]),
        {
            "pt": np.array([2.9052, 2.9193, 2.9376, 2.9445, 2.9644, 2.9848, 3.4667]),
            "cpt": np.array([1.7321, 1.7312, 1.7311, 1.7291, 1.7279, 1.7265, 1.7220]),
        },
    ),
}


class Form(NamedTuple):
    """A form of the final loss: its model file, the parameters of its shape, and its regressors."""

    model: str
    shape: tuple[str, ...]
    columns: Callable[..., FloatArray]


def exponential(domain: str, ratio: FloatArray, a2: float) -> FloatArray:
    """Return Eq. 8's multiplier, 1 without replay."""
    sign = 1 if domain == "pt" else -1
    return np.expm1(-sign * a2 * (1 - ratio))[None] / np.expm1(-sign * a2)


def own_share(domain: str, ratio: FloatArray, **shape: float) -> FloatArray:
    """Return the own-share multiplier."""
    left = left_of_shift(DOMAINS[domain].own_share(ratio), **shape)
    return (left if domain == "pt" else 1 - left)[None]


def monotone(domain: str, ratio: FloatArray, **shape: float) -> FloatArray:
    """Return the monotone multiplier."""
    reached = reached_of_shift(DOMAINS[domain].own_share(ratio), **shape)
    return (1 - reached if domain == "pt" else reached)[None]


def d_cpt(domain: str, ratio: FloatArray, h: float, e: float, g: float) -> FloatArray:
    """Return the two terms of D-CPT that depend on the share, at one length and size."""
    share = ratio if domain == "pt" else 1 - ratio
    return np.stack([share**h, (share + e) ** -g])


def data_mixing(domain: str, ratio: FloatArray, t: float) -> FloatArray:
    """Return the data mixing law's exponential."""
    return np.exp(-t * (ratio if domain == "pt" else 1 - ratio))[None]


FORMS = {
    "exponential (Eq. 8)": Form("cpt-replay-exponential", ("a2",), exponential),
    "own share": Form("cpt-replay", ("replay_scale", "replay_exponent"), own_share),
    "monotone": Form(
        "cpt-replay-monotone", tuple(f"replay_weight_{n}" for n in ("steepest", "steep", "even", "late")), monotone
    ),
    "D-CPT": Form("d-cpt", ("h", "e", "g"), d_cpt),
    "data mixing": Form("data-mixing", ("t",), data_mixing),
}


def forecast(form: Form, domain: str, ratio: FloatArray, losses: FloatArray, asked: FloatArray) -> FloatArray:
    """Fit a form to losses and return its predictions at the given ratios."""
    priors = [read_spec(form.model).priors[name] for name in form.shape]
    centre = np.log([prior.argument("median", domain) for prior in priors])
    width = np.array([prior.argument("sigma", domain) for prior in priors])

    def amplitudes(z: FloatArray) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        shape = dict(zip(form.shape, np.exp(centre + width * z), strict=True))

        def columns(at: FloatArray) -> FloatArray:
            return np.vstack([np.ones_like(at), form.columns(domain, at, **shape)]).T

        return np.linalg.lstsq(columns(ratio), losses, rcond=None)[0], columns

    def cost(z: FloatArray) -> float:
        amplitude, columns = amplitudes(z)
        return float(((columns(ratio) @ amplitude - losses) ** 2).sum() / NOISE**2 + (z**2).sum()) / 2

    random = np.random.default_rng(1)
    starts = [np.zeros_like(centre), *random.standard_normal((STARTS, centre.size))]
    found = min((minimize(cost, start, method="Nelder-Mead") for start in starts), key=lambda result: result.fun)
    amplitude, columns = amplitudes(found.x)
    return columns(asked) @ amplitude


def main() -> None:
    """Print the table."""
    rows = []
    for title, table in TABLES.items():
        for domain, losses in table.losses.items():
            ratio = table.replay_ratio
            inner = [i for i in range(ratio.size) if 0 < np.sum(ratio < ratio[i]) < ratio.size - 1]
            for name, form in FORMS.items():
                worst = np.abs(forecast(form, domain, ratio, losses, ratio) - losses).max()
                left = [
                    abs(
                        forecast(form, domain, np.delete(ratio, i), np.delete(losses, i), ratio[i : i + 1])[0]
                        - losses[i]
                    )
                    for i in inner
                ]
                rows.append((title, domain, name, worst, np.mean(left)))
    found = pd.DataFrame(rows, columns=["table", "domain", "form", "largest error", "mean error left out"])
    print(found.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
