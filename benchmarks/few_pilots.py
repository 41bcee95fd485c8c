"""Two pilots of ten points without their history, and forecasts of the same schedule at other replay ratios.

    uv run python benchmarks/few_pilots.py [DATA ...] [-m MODEL ...] [-o CSV]

Of each checkpoint and schedule of the data, all pairs of replay ratios are pilots in turn, and the runs at the other
ratios are forecast. What practitioners have: two short runs that continue a model which they did not train.
"""

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from open_checkpoint import part

from bayes_cpt._support.files import replacing
from bayes_cpt._support.shipped import shipped
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import fit
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select

OUTPUT = Path("benchmarks/results/few_pilots.csv")
POINTS = 10
SCORES = ["mae", "wis", "cover50", "cover90", "width90"]


def families(curves: Curves) -> Iterator[list[str]]:
    """Yield runs that differ in replay alone, three or more."""
    found: dict[tuple, dict[float, str]] = {}
    for run, record in curves.records.items():
        if record.phase == "cpt":
            schedule = curves.learning_rate(run).round(9).tobytes()
            found.setdefault((record.parent, record.parent_step, schedule), {}).setdefault(record.replay, run)
    yield from ([runs[ratio] for ratio in sorted(runs)] for runs in found.values() if len(runs) > 2)


def thinned(curves: Curves) -> Curves:
    """Return curves with ten losses of each run and domain, evenly spaced."""
    kept = [
        rows.sort_values("step").iloc[np.unique(np.linspace(0, len(rows) - 1, POINTS).round().astype(int))]
        for _, rows in curves.losses.groupby(["run", "domain"])
    ]
    return curves_from_frames(curves.runs, curves.lr, pd.concat(kept, ignore_index=True))


def scored(curves: Curves, pilots: tuple[str, ...], others: list[str], model: str) -> pd.DataFrame:
    """Fit pilots, and score the forecasts of the other runs."""
    found = fit(thinned(part(curves, pilots, hidden=True)), model, progress=False)
    hidden = part(curves, others, hidden=True)
    losses = hidden.losses[hidden.losses["step"] > 0].reset_index(drop=True)
    steps = {str(run): rows["step"].unique().tolist() for run, rows in losses.groupby("run")}
    table = averaged(score_draws(forecast(found, hidden, steps=steps), losses))[SCORES].reset_index()
    ratios = " + ".join(f"{curves.records[run].replay:g}" for run in pilots)
    return table.assign(model=model, pilots=ratios, converged=found.converged)


def main() -> None:
    """Write the table of scores, and print its means."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "data", nargs="*", default=[str(shipped(f"data/{name}")) for name in ("microcpt", "checkpoints")]
    )
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--where", default="model_size == 332448")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    rows = []
    for folder in given.data:
        curves = select(read_curves(folder), given.where, ["pt", "cpt"])
        for runs in families(curves):
            for pilots in combinations(runs, 2):
                others = [run for run in runs if run not in pilots]
                for model in given.model or ["open-checkpoint"]:
                    table = scored(curves, pilots, others, model).assign(folder=Path(folder).name)
                    ratio = {run: curves.records[run].replay for run in others}
                    rows.append(table.assign(replay=table["run"].map(ratio)))
                    print(rows[-1].round(4).to_string(index=False, header=False), flush=True)
    whole = pd.concat(rows, ignore_index=True)
    with replacing(given.output) as temporary:
        whole.round(5).to_csv(temporary, index=False)
    print(whole.groupby(["model", "folder", "domain"])[SCORES].mean().round(4).to_string())


if __name__ == "__main__":
    main()
