"""Loss curves of known coefficients: what a law says of a schedule, and data to test what a fit recovers."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayes_cpt import schedules
from bayes_cpt.areas import Segment, areas, phases_of
from bayes_cpt.curves import Curves, curves_from_frames, end_step, learning_rates
from bayes_cpt.features import design, mean_learning_rate, with_annealing
from bayes_cpt.formulas import Terms
from bayes_cpt.laws import law
from bayes_cpt.schedules import Schedule


def law_curve(
    name: str,
    coefficients: Mapping[str, Mapping[str, float]],
    pretraining: Schedule,
    schedule: Schedule,
    *,
    replay: float = 0.0,
    memory: float = 1000.0,
    every: int = 100,
) -> dict[str, Terms]:
    """Return what a law says of one CPT run, by domain: its terms at the run's steps 0, ``every``, 2 ``every``, ...

    The same as `simulate` without noise, in a fiftieth of its time: to look at many schedules.

    Parameters
    ----------
    name
        Of the law; one that knows the pre-training, of one model size and the exponential response.
    coefficients
        By domain, the law's own coefficients.
    pretraining, schedule
        LR of the pre-training, from scratch, and of the CPT run that goes on from its end.
    replay
        Share of D_pt in the CPT data.
    memory
        Of the annealing, in steps; the default is the paper's.
    every
        Steps between points.
    """
    lineage = [
        Segment("pt", schedules.learning_rates(pretraining)),
        Segment("cpt", schedules.learning_rates(schedule)),
    ]
    steps = np.arange(0, lineage[-1].learning_rate.size + 1, every)
    area, peak = areas(lineage, steps, memory), max(segment.learning_rate.max() for segment in lineage)
    features = {
        "forward_area_pt": area.forward_pt,
        "forward_area_cpt": area.forward_cpt,
        "annealing_area_pt": area.annealing_pt[:, 0],
        "annealing_area_cpt": area.annealing_cpt[:, 0],
        "replay_ratio": replay,
        "mean_learning_rate_cpt": mean_learning_rate(phases_of(lineage)[1], peak)[steps],
    }
    return {domain: law(name).predict(domain, features, own) for domain, own in coefficients.items()}


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
