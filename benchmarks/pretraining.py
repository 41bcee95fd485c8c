"""Forecasts of public pre-training curves beside the published multi-power law.

    uv run python benchmarks/pretraining.py DATA [-m annealing] [-m multi-power]

DATA is a curve folder whose runs.csv has a column ``split`` (train, test). Each model size is fitted on its training
curves and forecasts its test curves: means over these, for each model, and for the average of all with equal weights.
PT warm-up is left out. The last columns are ratios to the MAE of the published point fit (Luo et al., ICLR 2025, arXiv
2503.12811), where the size is one of theirs.
"""

import argparse

import numpy as np
import pandas as pd

from bayes_cpt.averaging import Average, fit_average
from bayes_cpt.curves import Curves, read_curves, select
from bayes_cpt.features import warmup_steps
from bayes_cpt.forecasting import forecast
from bayes_cpt.inference import Fit
from bayes_cpt.score import averaged, score_draws

PUBLISHED_MAE = {25_000_000: 0.00376, 100_000_000: 0.00435, 400_000_000: 0.00484}
COLUMNS = ["mae", "rmse", "wis", "crps", "cover50", "cover90", "width90"]


def unseen(curves: Curves) -> Curves:
    """Return the test runs and their losses after warm-up."""
    names = curves.runs.index[curves.runs["split"] == "test"]
    losses = curves.losses[curves.losses["run"].isin(names)]
    described = losses["step"] >= losses["run"].map({run: warmup_steps(curves, run) for run in names})
    return Curves(curves.runs.loc[names], curves.lr[curves.lr["run"].isin(names)], losses[described])


def main() -> None:
    """Print scores by run, and a row of means for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("-m", "--model", action="append", help="may be repeated; by default annealing")
    arguments = parser.parse_args()
    everything = read_curves(arguments.data)
    rows = {}
    for size in sorted(everything.runs["model_size"].unique()):
        curves = select(everything, f"model_size == {size}")
        together = fit_average(select(curves, "split == 'train'"), arguments.model or ["annealing"], progress=False)
        fitted = {one.spec.name: one for one in together.fits}
        for name, one in (fitted | ({"average": together} if len(fitted) > 1 else {})).items():
            rows[size, name] = scored(one, unseen(curves), PUBLISHED_MAE.get(int(size), np.nan))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*COLUMNS, "r2", "mae / theirs", "crps / theirs"])
    print(table.round(4).to_string())


def scored(fitted: Fit | Average, planned: Curves, published: float) -> list[float]:
    """Print scores by run; return a row of means."""
    steps = {str(run): rows["step"].unique().tolist() for run, rows in planned.losses.groupby("run")}
    points = score_draws(forecast(fitted, planned, steps=steps), planned.losses)
    by_run = averaged(points, ["run"])
    print(f"{by_run[COLUMNS].round(4).to_string()}\n{fitted.verdict}\n", flush=True)
    squares = points.groupby("run").apply(lambda one: 1 - (one["error"] ** 2).mean() / one["loss"].var(ddof=0))
    scores = by_run[COLUMNS].mean()
    return [*scores, squares.mean(), scores["mae"] / published, scores["crps"] / published]


if __name__ == "__main__":
    main()
