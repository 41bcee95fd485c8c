"""Loss curves with known coefficients: predictions of a law for a schedule, and data to test what a fit recovers."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from bayes_cpt.laws.areas import areas
from bayes_cpt.laws.features import design, peak_learning_rate, with_areas
from bayes_cpt.laws.law import Law, Terms
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.planning import schedules
from bayes_cpt.planning.schedules import Schedule, constant, cosine, linear, wsd
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.lineage import Segment, phases_of

PEAK, WARMUP, PT_STEPS, CPT_STEPS = 2e-3, 100, 6000, 3000
LOSS = 3.0
MODEL_SIZE = 100_000_000
RATIOS = (0.0, 0.1, 0.3, 1.0)
"""Settings of `pilot_runs`: PEAK is an LR, LOSS is in nats."""


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
    """Return a law's prediction for one CPT run, by domain: its terms at the run's steps 0, ``every``, 2 ``every``, ...

    The same as `simulate` without noise, in a fiftieth of its time: to examine many schedules.

    Parameters
    ----------
    name
        Name of the law: one with known pre-training, one model size and the exponential memory kernel.
    coefficients
        By domain, the law's own coefficients.
    pretraining, schedule
        LR of the pre-training, from scratch, and of the CPT run from its end.
    replay
        Share of D_pt in the CPT data.
    memory
        Memory of the annealing, in steps; the default is the paper's.
    every
        Steps between points.

    Returns
    -------
    dict of str to Terms
        By domain, terms (points,) in nats.
    """
    lineage = [
        Segment("pt", schedules.learning_rates(pretraining)),
        Segment("cpt", schedules.learning_rates(schedule)),
    ]
    steps = np.arange(0, lineage[-1].learning_rate.size + 1, every)
    area, peak = areas(lineage, steps, memory), max(segment.learning_rate.max() for segment in lineage)
    features = {
        "progress_pt": area.forward_pt,
        "progress_cpt": area.forward_cpt,
        "forward_area_cpt": area.forward_cpt,
        "annealing_area_pt": area.annealing_pt[:, 0],
        "annealing_area_cpt": area.annealing_cpt[:, 0],
        "replay_ratio": replay,
        "peak_learning_rate_cpt": peak_learning_rate(phases_of(lineage)[1], peak)[steps],
    }
    chosen = LAWS[name]
    return {domain: chosen.predict(domain, features, own) for domain, own in coefficients.items()}


def simulate(
    planned: Curves,
    name: str,
    coefficients: Mapping[str, Mapping[str, float]],
    *,
    memory: float,
    noise: float,
    every: int,
    seed: int,
    kernel: Mapping[str, float] = MappingProxyType({}),
) -> Curves:
    """Give runs the losses that a law predicts, with independent Gaussian noise.

    Parameters
    ----------
    planned
        Runs and their LRs.
    name
        Name of the law.
    coefficients
        By domain, the law's own coefficients.
    memory
        Memory of the annealing, in steps.
    noise
        Standard deviation of the noise, nats; 0 for the law itself.
    every
        Steps between points; the first step measured is ``every`` in pre-training, 0 in CPT.
    seed
        Seed of the noise.
    kernel
        Further parameters of the memory kernel, if it has any.

    Returns
    -------
    Curves
        The runs with simulated losses.
    """
    random = np.random.default_rng(seed)
    peak = max(planned.learning_rate(run).max() for run in planned.runs.index)
    points = pd.concat([_points(planned, str(run), every) for run in planned.runs.index], ignore_index=True)
    evaluated = design(planned, points, peak, LAWS[name].memory_kernel)
    shape = {name: np.asarray(value) for name, value in {"memory": memory, **kernel}.items()}
    features = with_areas(evaluated, shape)
    places = evaluated.places(points)
    losses = [
        points.assign(
            domain=domain,
            loss=LAWS[name].predict(domain, features, own).loss[places] + noise * random.standard_normal(len(points)),
        )
        for domain, own in coefficients.items()
    ]
    return curves_from_frames(planned.runs, planned.lr, pd.concat(losses, ignore_index=True))


def _points(planned: Curves, run: str, every: int) -> pd.DataFrame:
    steps = np.arange(0, planned.end_step(run) + 1, every)
    return pd.DataFrame({"run": run, "step": steps if planned.runs.loc[run, "phase"] == "cpt" else steps[1:]})


def pilot_runs(described: Law, points: int = 12) -> Curves:
    """Return a small design of runs that a law describes: pre-training (PT), and four runs of continual pre-training.

    All losses are 3 nats: such a template sets the units of priors, for example for `bayes_cpt.calibrate`.

    Parameters
    ----------
    described
        The law: it decides on phases, replay ratios, lengths and whether the PT is known.
    points
        Measured points per run.

    Returns
    -------
    Curves
        The runs, their LRs and losses.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> curves = bc.pilot_runs(bc.LAWS["cpt-replay"])
    >>> curves.runs["replay"].dropna().to_dict()
    {'wsd': 0.0, 'cosine': 0.1, 'linear': 0.3, 'constant': 1.0}
    >>> bc.pilot_runs(bc.LAWS["open-checkpoint"]).runs["phase"].unique().tolist()
    ['cpt']
    """
    pilots: dict[str, Schedule] = {
        "wsd": wsd(PEAK, CPT_STEPS, WARMUP),
        "cosine": cosine(PEAK, CPT_STEPS, WARMUP, final=0.1),
        "linear": linear(PEAK / 2, CPT_STEPS, WARMUP),
        "constant": constant(PEAK, CPT_STEPS // 2 if described.has_length else CPT_STEPS, WARMUP),
    }
    pretraining = {"pt": wsd(PEAK, PT_STEPS, WARMUP)} if described.knows_checkpoint else {}
    parent, start = ("pt", PT_STEPS) if described.has_shift and described.knows_checkpoint else (None, None)
    runs = pd.DataFrame(
        {
            "run": [*pretraining, *pilots],
            "phase": [*("pt" for _ in pretraining), *("cpt" if described.has_shift else "pt" for _ in pilots)],
            "parent": [*(None for _ in pretraining), *(parent for _ in pilots)],
            "parent_step": [*(None for _ in pretraining), *(start for _ in pilots)],
            "replay": [
                *(None for _ in pretraining),
                *(None if not described.has_shift else ratio if described.has_replay else 0.0 for ratio in RATIOS),
            ],
            "model_size": MODEL_SIZE,
        }
    )
    rates = {run: schedules.learning_rates(schedule) for run, schedule in (pretraining | pilots).items()}
    lr = [pd.DataFrame({"run": run, "step": np.arange(1, used.size + 1), "lr": used}) for run, used in rates.items()]
    first = {run: WARMUP if phase == "pt" else 0 for run, phase in zip(runs["run"], runs["phase"], strict=True)}
    losses = [
        pd.DataFrame(
            {"run": run, "step": np.linspace(first[run], used.size, points).astype(int), "domain": domain, "loss": LOSS}
        )
        for run, used in rates.items()
        for domain in described.domains
    ]
    return curves_from_frames(runs, pd.concat(lr), pd.concat(losses))
