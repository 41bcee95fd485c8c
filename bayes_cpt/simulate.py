"""Loss curves of known coefficients: to test what a fit recovers."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayes_cpt.curves import Curves, curves_from_frames, end_step, learning_rates
from bayes_cpt.features import design, with_annealing
from bayes_cpt.laws import law


def simulate(
    planned: Curves,
    name: str,
    coefficients: Mapping[str, Mapping[str, float]],
    *,
    memory: float,
    noise: float,
    every: int,
    seed: int,
    response: Mapping[str, float] = MappingProxyType({}),
) -> Curves:
    """Give runs the losses that a law says, with independent Gaussian noise.

    Parameters
    ----------
    planned
        Runs and their LRs.
    name
        Of the law.
    coefficients
        By domain, the law's own coefficients.
    memory
        Of the annealing, in steps.
    noise
        Standard deviation, nats; 0 for the law itself.
    every
        Steps between points; the first step measured is ``every`` in pre-training, 0 in CPT.
    seed
        Of the noise.
    response
        Further parameters of the response to a drop of the LR, where the law has any.
    """
    random = np.random.default_rng(seed)
    peak = max(learning_rates(planned, run).max() for run in planned.runs.index)
    points = pd.concat([_points(planned, str(run), every) for run in planned.runs.index], ignore_index=True)
    static = design(planned, points, peak, law(name).response)
    shape = {name: np.asarray(value) for name, value in {"memory": memory, **response}.items()}
    features = with_annealing(static, shape)
    nodes = static.nodes(points)
    losses = [
        points.assign(
            domain=domain,
            loss=law(name).predict(domain, features, own).loss[nodes] + noise * random.standard_normal(len(points)),
        )
        for domain, own in coefficients.items()
    ]
    return curves_from_frames(planned.runs, planned.lr, pd.concat(losses, ignore_index=True))


def _points(planned: Curves, run: str, every: int) -> pd.DataFrame:
    steps = np.arange(0, end_step(planned, run) + 1, every)
    return pd.DataFrame({"run": run, "step": steps if planned.runs.loc[run, "phase"] == "cpt" else steps[1:]})
