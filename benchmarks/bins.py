"""What averaging losses in bins costs, and what it saves: posteriors of bins and of every point.

    uv run python benchmarks/bins.py [PRETRAINING ...] [-o benchmarks/results/bins.csv]
        [--gradients benchmarks/results/gradients.csv] [--only posteriors gradients]

``posteriors``: `cpt-replay` on the shipped larger model, and `annealing` on each model size of curve folders of
pre-training (the runs whose ``split`` is ``train``, if runs.csv has that column), fitted with bins and with every
point. By parameter, on the unconstrained scale, where positive parameters are logs: the difference of means in standard
deviations of the draws of every point, and the ratio of standard deviations. Draws of one posterior differ by chance
too: a third fit, with bins and another seed, shows by how much. Seconds are of sampling, compilation included.

``gradients``: a simulated pre-training run of 20,000 steps with 100, 1,000 and 20,000 measured losses; microseconds of
one gradient per vector, with bins and with every point.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayes_cpt._support.files import replacing
from bayes_cpt._support.progress import quiet
from bayes_cpt._support.shipped import shipped
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.demonstration import SIZE
from bayes_cpt.inference.fit import Prepared, prepare, watched_quantities
from bayes_cpt.inference.sampling import Block, sample_blocks
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.planning.schedules import learning_rates, wsd
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model import bins

OUTPUT, GRADIENTS = Path("benchmarks/results/bins.csv"), Path("benchmarks/results/gradients.csv")
PARTS = ("posteriors", "gradients")
SETTINGS = SamplerSettings(draws=2000, seconds=1800, progress=False)
LENGTH = 20_000
"""Steps of the simulated run."""
SPACINGS = (200, 20, 1)
"""Steps between its measured losses."""
ANNEALING: Mapping[str, float] = {"L0": 3.0, "A": 0.5, "alpha": 0.5, "C": 0.3}
VECTORS, REPEATS = 128, 5
"""Vectors of one evaluation, and number of evaluations of which the fastest counts."""


class Posterior(NamedTuple):
    """Draws by parameter, the points that were fitted, and the seconds."""

    draws: Mapping[str, FloatArray]
    points: int
    seconds: float


@contextmanager
def every_point() -> Iterator[None]:
    """Average no losses within the block."""
    before = bins.FEWEST, bins.MOST
    bins.FEWEST = bins.MOST = 10**9
    try:
        yield
    finally:
        bins.FEWEST, bins.MOST = before


def sampled(curves: Curves, model: str, seed: int) -> Posterior:
    """Sample a posterior."""
    prepared = prepare(curves, model)
    blocks = [Block(density, partial(watched_quantities, prepared, density)) for density in prepared.densities]
    start = time.perf_counter()
    drawn = sample_blocks(blocks, SETTINGS.changed({"seed": seed}), quiet)
    seconds = time.perf_counter() - start
    draws = {
        entry.label: each.x[..., place].ravel()
        for block, each in zip(blocks, drawn, strict=True)
        for place, entry in enumerate(block.density.entries)
    }
    return Posterior(draws, points_of(prepared), seconds)


def points_of(prepared: Prepared) -> int:
    """Return the number of points that the likelihoods have."""
    return sum(int((found.count > 0).sum()) for found in prepared.bins.values())


def difference(name: str, curves: Curves, model: str) -> pd.DataFrame:
    """Return how far the posterior of bins is from that of every point, by parameter."""
    with every_point():
        whole = sampled(curves, model, 1)
    averaged, again = (sampled(curves, model, seed) for seed in (1, 2))
    rows = [
        {
            "curves": name,
            "model": model,
            "parameter": parameter,
            "mean_difference": (averaged.draws[parameter].mean() - own.mean()) / own.std(),
            "sd_ratio": averaged.draws[parameter].std() / own.std(),
            "mean_difference_by_chance": (again.draws[parameter].mean() - averaged.draws[parameter].mean()) / own.std(),
        }
        for parameter, own in whole.draws.items()
    ]
    table = pd.DataFrame(rows).assign(
        points=whole.points, bins=averaged.points, seconds_points=whole.seconds, seconds_bins=averaged.seconds
    )
    print(f"\n{name}, {model}: {whole.points} points in {whole.seconds:.1f} s, ", end="")
    print(f"{averaged.points} bins in {averaged.seconds:.1f} s ({again.seconds:.1f} s)")
    shown = table[["parameter", "mean_difference", "sd_ratio", "mean_difference_by_chance"]]
    print(shown.round(3).to_string(index=False))
    print(
        f"means differ by {table['mean_difference'].abs().max():.2f} sd at most, by chance by "
        f"{table['mean_difference_by_chance'].abs().max():.2f}; ratios of sd {table['sd_ratio'].min():.2f} to "
        f"{table['sd_ratio'].max():.2f}",
        flush=True,
    )
    return table


def to_compare(folders: Sequence[Path]) -> Iterator[tuple[str, Curves, str]]:
    """Return name, curves and model of each posterior."""
    yield "microcpt", select(read_curves(shipped("data/microcpt")), SIZE, ["pt", "cpt"]), "cpt-replay"
    for folder in folders:
        everything = read_curves(folder)
        fitted = " and split == 'train'" if "split" in everything.runs else ""
        for size in sorted(everything.runs["model_size"].unique()):
            chosen = select(everything, f"model_size == {size}{fitted}", ["pt"])
            yield f"{folder.name} {size / 1e6:g}M", chosen, "annealing"


def posteriors(folders: Sequence[Path], output: Path) -> None:
    """Compare the posteriors, and write the table after each."""
    tables = []
    for given in to_compare(folders):
        tables.append(difference(*given))
        write(pd.concat(tables), output)


def simulated(every: int) -> Curves:
    """Return a pre-training run with a measured loss every so many steps."""
    rates = learning_rates(wsd(peak=2e-4, steps=LENGTH, warmup=500))
    lr = pd.DataFrame({"run": "pt", "step": np.arange(1, LENGTH + 1), "lr": rates})
    runs = pd.DataFrame({"run": ["pt"], "phase": ["pt"], "parent": [""], "parent_step": [None], "replay": [None]})
    planned = curves_from_frames(runs, lr)
    return simulate(planned, "annealing-eq1", {"pt": ANNEALING}, memory=1000.0, noise=0.003, every=every, seed=1)


def microseconds(curves: Curves) -> tuple[int, float]:
    """Return the number of points of the likelihood, and the microseconds of one gradient per vector."""
    prepared = prepare(curves, "annealing-eq1")
    [density] = prepared.densities
    x = density.prior_draws(VECTORS, np.random.default_rng(1))
    fastest = min(timed(partial(density.at, x)) for _ in range(REPEATS + 1))  # the first one compiles
    return points_of(prepared), 1e6 * fastest / VECTORS


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def gradients(output: Path) -> None:
    """Measure one gradient per vector, and write the table."""
    rows = []
    for every in SPACINGS:
        curves = simulated(every)
        averaged, fast = microseconds(curves)
        with every_point():
            points, slow = microseconds(curves)
        rows.append((len(curves.losses), points, averaged, slow, fast))
    columns = ["measured", "points", "bins", "microseconds_points", "microseconds_bins"]
    table = pd.DataFrame(rows, columns=columns)
    print(f"\n{table.round(1).to_string(index=False)}", flush=True)
    write(table, output)


def write(table: pd.DataFrame, output: Path) -> None:
    """Write a table."""
    with replacing(output) as temporary:
        table.round(4).to_csv(temporary, index=False)


def main() -> None:
    """Print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pretraining", type=Path, nargs="*", metavar="PRETRAINING")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--gradients", type=Path, default=GRADIENTS, metavar="FILE")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    if "gradients" in given.only:
        gradients(given.gradients)
    if "posteriors" in given.only:
        posteriors(given.pretraining, given.output)


if __name__ == "__main__":
    main()
