"""Convergence and seconds of the default sampler on many posteriors, and its distance from long chains of NUTS.

    uv run python benchmarks/suite.py [-o benchmarks/results/suite.csv] [--pretraining FOLDER ...] [--reference]
        [--only NAME ...] [--list]

Each posterior is a row of the CSV file, written as soon as it is done. A posterior that the file has already is left
out, so an interrupted suite goes on where it was; with --reference a row without a reference is done again. --only
takes names or patterns such as ``'pilots/*'``. --pretraining adds curve folders of pre-training alone, one posterior
per model size; if runs.csv has a column ``split``, only the runs of ``train`` are fitted.

``seconds_cold`` is preparing and the first fit, which compiles; it is empty where an earlier row fitted the same
compiled curves. Imports are left out, and so is what JAX finds in its cache folder: set ``JAX_COMPILATION_CACHE_DIR``
to an empty folder to have it compile everything. ``seconds_warm`` is a fit of what is compiled, by other random
numbers, which seeks the modes anew; the row's diagnostics are of this fit. ``points`` are measured losses,
``gradients`` those of the log density of one vector, and ``modes`` the largest number of modes in a block that have
draws.

With --reference, distances are between draws on the unconstrained scale, where positive parameters are logs, in
standard deviations of the reference: the largest over parameters of the difference of means, and of the 5 and 95 %
quantiles; ``farthest`` is the parameter of the latter. They are empty where NUTS did not converge.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pandas as pd

from bayes_cpt._support.files import replacing
from bayes_cpt._support.shipped import shipped
from bayes_cpt.demonstration import HELD_OUT, SIZE
from bayes_cpt.errors import BayesCptError
from bayes_cpt.evaluation.backtest import described_curves, folds
from bayes_cpt.inference.diagnostics import convergence, summarise
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, prepare
from bayes_cpt.inference.sampling import SAMPLERS, Block, Drawn, Sampler
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.holdout import NOTHING, Holdout
from bayes_cpt.statistical_model.model_files import read_spec

OUTPUT = Path("benchmarks/results/suite.csv")
CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"
LAW_DOMAINS = ("pt", "cpt")
REPLAY_MODELS = ("cpt-replay", "cpt-replay-exponential", "cpt-replay-monotone")
THINNED = 10
"""Points of each run and domain of small folders."""
SEEDS = (1, 2, 3, 4, 5)
OTHER_SEED = 1000
"""What is added to the seed of the fit that compiles."""
DEFAULT = SamplerSettings(progress=False)
REFERENCE = SamplerSettings(sampler="nuts", draws=2500, tune=1000, chains=4, progress=False)
QUANTILES = [0.05, 0.95]
HAS_DRAWS = 0.01
"""Share of the draws above which a mode counts."""
KEY = ["name", "model", "seed"]
COLUMNS = [
    *KEY, "points", "parameters", "seconds_cold", "seconds_warm", "r_hat", "ess", "converged", "gradients", "modes"
]  # fmt: skip
REFERENCE_COLUMNS = ["nuts_converged", "nuts_seconds", "mean_distance", "quantile_distance", "farthest"]


# What is fitted ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Posteriors of the same curves and model, which are compiled once.

    Parameters
    ----------
    name
        Its name.
    model
        The model.
    curves
        Returns the curves.
    leave
        What is left out in turn, as in `bayes_cpt.backtest`; if empty, all curves are fitted.
    seeds
        One posterior for each.
    """

    name: str
    model: str
    curves: Callable[[], Curves]
    leave: str = ""
    seeds: Sequence[int] = (1,)


class Posterior(NamedTuple):
    """A posterior: its name, the runs that are not fitted, and its seeds."""

    name: str
    left_out: Holdout
    seeds: Sequence[int]


@cache
def shipped_curves() -> Curves:
    """Return the shipped curves."""
    return read_curves(shipped("data/microcpt"))


@cache
def checkpoint_curves() -> Curves:
    """Return the curves from four checkpoints of one pre-training."""
    return read_curves(CHECKPOINTS)


def larger(domains: Sequence[str] | None = LAW_DOMAINS) -> Curves:
    """Return the shipped curves of the larger model."""
    return select(shipped_curves(), SIZE, domains)


def from_checkpoint(checkpoint: str, ratios: Sequence[str]) -> Curves:
    """Return the runs from a checkpoint at some replay ratios, and their ancestors."""
    names = [f"cpt_{checkpoint}_r{ratio}" for ratio in ratios]
    return select(checkpoint_curves(), f"run in {names}", LAW_DOMAINS)


def pretraining_runs(curves: Curves) -> Curves:
    """Return the pre-training runs, and their losses on pt."""
    return select(curves, "phase == 'pt'", ["pt"])


def thinned(curves: Curves) -> Curves:
    """Keep few points of each run, evenly spaced, and the first and the last."""
    kept = []
    for _, rows in curves.losses.groupby("run", sort=False):
        steps = np.unique(rows["step"])
        chosen = steps[np.linspace(0, len(steps) - 1, min(THINNED, len(steps))).round().astype(int)]
        kept.append(rows[rows["step"].isin(chosen)])
    return curves.with_losses(pd.concat(kept))


def without_history(curves: Curves) -> Curves:
    """Keep the CPT runs, as if nothing were known of their pre-training."""
    runs = curves.runs[curves.runs["phase"] == "cpt"].assign(parent=None, parent_step=None)
    lr, losses = (rows[rows["run"].isin(runs.index)] for rows in (curves.lr, curves.losses))
    return curves_from_frames(runs, lr, losses)


def groups(pretraining: Sequence[Path]) -> list[Group]:
    """Return all posteriors, in groups of the same curves and model."""
    return [*_folds(), *_full(), *_small(), *_open(), *_public(pretraining)]


def _folds() -> Iterator[Group]:
    yield Group("folds/microcpt", "cpt-replay", larger, leave="run")
    yield Group(
        "folds/checkpoints", "cpt-replay", lambda: select(checkpoint_curves(), domains=LAW_DOMAINS), leave="run"
    )


def _full() -> Iterator[Group]:
    yield Group("demo", "cpt-replay", lambda: larger().without([HELD_OUT]), seeds=SEEDS)
    for model in REPLAY_MODELS:
        yield Group("all/microcpt", model, larger)
        yield Group("all/checkpoints", model, lambda: select(checkpoint_curves(), domains=LAW_DOMAINS))
    yield Group("all/microcpt every domain", "cpt-replay", partial(larger, None))
    yield Group("all/microcpt two sizes", "cpt-size", lambda: select(shipped_curves(), domains=LAW_DOMAINS))
    yield Group("all/microcpt pre-training", "annealing", lambda: pretraining_runs(larger()))
    yield Group("all/checkpoints pre-training", "annealing", lambda: pretraining_runs(checkpoint_curves()))


def _small() -> Iterator[Group]:
    for model in REPLAY_MODELS:
        for ratios in (("000", "050"), ("000", "050", "100")):
            name = " + ".join(str(int(ratio)) for ratio in ratios)
            yield Group(f"checkpoint 000/{name} %", model, partial(from_checkpoint, "000", ratios))
    for model in REPLAY_MODELS:
        seeds = SEEDS if model == "cpt-replay" else (1,)
        yield Group("pilots/checkpoints", model, lambda: thinned(from_checkpoint("000", ("000", "050"))), seeds=seeds)
        yield Group("pilots/microcpt", model, lambda: thinned(_shipped_pilots()))


def _shipped_pilots() -> Curves:
    names = ["cpt_m_wsd000_wsd_r000", "cpt_m_wsd000_wsd_r050"]
    return select(shipped_curves(), f"run in {names}", LAW_DOMAINS)


def _open() -> Iterator[Group]:
    every = ("000", "050", "100")
    for checkpoint in ("000", "010", "050", "100"):
        pilots = partial(from_checkpoint, checkpoint, every)
        yield Group(f"open/three pilots from {checkpoint}", "open-checkpoint", _hidden(pilots))
    for model in ("open-replay-exponential", "open-replay-monotone"):
        yield Group("open/three pilots from 000", model, _hidden(partial(from_checkpoint, "000", every)))
    for ratio in every:
        lone = _hidden(partial(from_checkpoint, "000", [ratio]))
        yield Group(f"open/lone pilot at {int(ratio)} %", "open-cpt", lone, seeds=SEEDS if ratio == "000" else (1,))
        yield Group(f"open/lone pilot at {int(ratio)} %", "open-checkpoint", lone)


def _hidden(curves: Callable[[], Curves]) -> Callable[[], Curves]:
    return lambda: without_history(curves())


def _public(folders: Sequence[Path]) -> Iterator[Group]:
    for folder in folders:
        everything = read_curves(folder)
        fitted = " and split == 'train'" if "split" in everything.runs else ""
        for size in sorted(everything.runs["model_size"].unique()):
            chosen = partial(select, everything, f"model_size == {size}{fitted}", ["pt"])
            yield Group(f"pretraining/{folder.name} {size / 1e6:g}M", "annealing", chosen)


def posteriors(group: Group) -> list[Posterior]:
    """Return the posteriors of a group, of which one leaves out each fold."""
    if not group.leave:
        return [Posterior(group.name, NOTHING, group.seeds)]
    described = described_curves(group.curves(), read_spec(group.model), None)
    return [Posterior(f"{group.name}/{fold.name}", fold, group.seeds) for fold in folds(described, group.leave)]


# One posterior -------------------------------------------------------------------------------------------------------


class Sampled(NamedTuple):
    """A fit, its seconds, and what was drawn of each block."""

    fit: Fit
    seconds: float
    blocks: list[tuple[Block, Drawn]]


def sampled(prepared: Prepared, settings: SamplerSettings, left_out: Holdout) -> Sampled:
    """Fit, and keep what the sampler drew."""
    kept: list[tuple[Block, Drawn]] = []
    sampler = SAMPLERS[settings.sampler]
    SAMPLERS.register(settings.sampler, _keeping(sampler, kept), replace=True)
    try:
        start = time.perf_counter()
        fitted = fit_prepared(prepared, settings, left_out)
        seconds = time.perf_counter() - start
    finally:
        SAMPLERS.register(settings.sampler, sampler, replace=True)
    # blocks end in any order
    return Sampled(fitted, seconds, sorted(kept, key=lambda pair: pair[0].density.entries[0].label))


def _keeping(sampler: Sampler, kept: list[tuple[Block, Drawn]]) -> Sampler:
    def sample(block: Block, settings: SamplerSettings, progress: Callable[[str], None]) -> Drawn:
        drawn = sampler(block, settings, progress)
        kept.append((block, drawn))
        return drawn

    return sample


def measured(found: Sampled) -> dict[str, object]:
    """Return the columns that describe a posterior and its fit."""
    densities = [block.density for block, _ in found.blocks]
    losses = [data for density in densities for data in density.data["losses"].values()]
    table = summarise(found.fit.tree, kind="diagnostics", round_to="none")
    watched = [convergence(block.watched(drawn.x)) for block, drawn in found.blocks]
    smallest = [table[["ess_bulk", "ess_tail"]].to_numpy().min()]
    smallest += [min(each.bulk.min(), each.tail.min()) for each in watched]
    return {
        "points": int(sum(data["count"].sum() for data in losses)),
        "parameters": sum(density.size for density in densities),
        "seconds_warm": round(found.seconds, 2),
        "r_hat": round(float(max(table["r_hat"].max(), *(each.r_hat.max() for each in watched))), 4),
        "ess": round(float(min(smallest))),
        "converged": found.fit.converged,
        "gradients": sum(drawn.evaluations for _, drawn in found.blocks),
        "modes": max(int((drawn.modes > HAS_DRAWS).sum()) for _, drawn in found.blocks),
    }


def compared(found: Sampled, reference: Sampled) -> dict[str, object]:
    """Return the columns that compare a fit with its reference."""
    columns: dict[str, object] = {
        "nuts_converged": reference.fit.converged,
        "nuts_seconds": round(reference.seconds, 1),
    }
    if not reference.fit.converged:
        return columns
    apart = pd.concat(
        [_distances(block, one, other) for (block, one), (_, other) in zip(found.blocks, reference.blocks, strict=True)]
    )
    return columns | {**apart.max().round(3).to_dict(), "farthest": apart["quantile_distance"].idxmax()}


def _distances(block: Block, drawn: Drawn, reference: Drawn) -> pd.DataFrame:
    """Return by parameter the distances of means and of quantiles, in standard deviations of the reference."""
    own, other = (each.x.reshape(-1, each.x.shape[-1]) for each in (drawn, reference))
    quantile = np.abs(np.quantile(own, QUANTILES, axis=0) - np.quantile(other, QUANTILES, axis=0)).max(axis=0)
    mean = np.abs(own.mean(axis=0) - other.mean(axis=0))
    distances = {"mean_distance": mean / other.std(axis=0), "quantile_distance": quantile / other.std(axis=0)}
    return pd.DataFrame(distances, index=[entry.label for entry in block.density.entries])


# All posteriors ------------------------------------------------------------------------------------------------------


class Results:
    """The rows of the CSV file."""

    def __init__(self, path: Path, *, reference: bool) -> None:
        self.path, self.columns = path, [*COLUMNS, *REFERENCE_COLUMNS]
        self.needed = "nuts_converged" if reference else "converged"
        self.table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=self.columns)

    def has(self, *key: object) -> bool:
        """Return whether a posterior is done: its name, model and seed."""
        return bool(self.table.loc[self._at(key), self.needed].notna().any())

    def add(self, row: dict[str, object]) -> None:
        """Add a row, or put it in the place of the posterior's earlier one, and write the file."""
        old = self._at([row[name] for name in KEY])
        kept = self.table[~old].astype(object)
        self.table = pd.DataFrame([*kept.to_dict("records"), row], columns=self.columns)
        with replacing(self.path) as temporary:
            self.table.to_csv(temporary, index=False)

    def _at(self, key: Sequence[object]) -> pd.Series:
        return (self.table[KEY] == list(key)).all(axis=1)


def run_group(group: Group, chosen: Sequence[Posterior], results: Results, *, reference: bool) -> None:
    """Fit the posteriors of a group that are not done."""
    left = [
        one._replace(seeds=[seed for seed in one.seeds if not results.has(one.name, group.model, seed)])
        for one in chosen
    ]
    left = [one for one in left if one.seeds]
    if not left:
        return
    # each group compiles as the first one of the process does, and executables of others need memory
    jax.clear_caches()
    start = time.perf_counter()
    prepared = prepare(group.curves(), group.model, holdouts=[each.left_out for each in posteriors(group)])
    sampled(prepared, settings_of(left[0].seeds[0] + OTHER_SEED), left[0].left_out)
    cold: float | None = round(time.perf_counter() - start, 2)
    for posterior in left:
        long = sampled(prepared, REFERENCE, posterior.left_out) if reference else None
        for seed in posterior.seeds:
            found = sampled(prepared, settings_of(seed), posterior.left_out)
            row = {"name": posterior.name, "model": group.model, "seed": seed, "seconds_cold": cold, **measured(found)}
            row |= compared(found, long) if long else {}
            results.add(row)
            cold = None
            title = f"{posterior.name}, {group.model}, seed {seed}"
            print(f"{title}: {found.seconds:.1f} s, {found.fit.verdict}", flush=True)


def settings_of(seed: int) -> SamplerSettings:
    """Return the default settings with a seed."""
    return DEFAULT.changed({"seed": seed})


def in_short(table: pd.DataFrame) -> str:
    """Return a summary of rows: convergence, seconds, and distances from the reference."""
    if table.empty:
        return "no posterior is done"
    converged = table["converged"].astype(bool)
    missed = [f"{row['name']} ({row['model']}, seed {row['seed']})" for _, row in table[~converged].iterrows()]
    warm, cold = (table[name].astype(float) for name in ("seconds_warm", "seconds_cold"))
    lines = [
        f"{len(table)} posteriors, {converged.sum()} converged ({converged.mean():.0%})",
        f"seconds warm: median {warm.median():.1f}, largest {warm.max():.1f}",
        f"seconds cold: median {cold.median():.1f}, largest {cold.max():.1f}",
        f"not converged: {'; '.join(missed) or 'none'}",
    ]
    known = table[table["nuts_converged"].notna()]
    if len(known):
        by_nuts = known[known["nuts_converged"].astype(bool)]
        farthest = [float(by_nuts[name].astype(float).max()) for name in ("mean_distance", "quantile_distance")]
        lines.append(
            f"NUTS converged on {len(by_nuts)} of {len(known)}; there the largest distance of means is "
            f"{farthest[0]:.2f} sd, of quantiles {farthest[1]:.2f} sd"
        )
    return "\n".join(lines)


def main() -> None:
    """Fit all posteriors that are not done, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    parser.add_argument("--pretraining", type=Path, nargs="+", default=[], metavar="FOLDER")
    parser.add_argument("--reference", action="store_true", help="also run long chains of NUTS")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the names, and fit nothing")
    given = parser.parse_args()
    results, failed = Results(given.output, reference=given.reference), []
    for group in groups(given.pretraining):
        chosen = [one for one in posteriors(group) if any(fnmatch(one.name, pattern) for pattern in given.only)]
        if given.list:
            for posterior in chosen:
                print(f"{posterior.name}, {group.model}, {len(posterior.seeds)} seeds")
            continue
        try:
            run_group(group, chosen, results, reference=given.reference)
        except BayesCptError as error:
            failed.append(f"{group.name}, {group.model}: {error}")
            print(failed[-1], flush=True)
    if not given.list:
        print("\n".join([in_short(results.table), *(f"FAILED {each}" for each in failed)]))


if __name__ == "__main__":
    main()
