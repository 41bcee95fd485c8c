"""Forecasts of public pre-training curves compared with the published multi-power law.

    uv run python benchmarks/pretraining.py DATA [-m annealing] [-m multi-power]

DATA is a curve folder whose runs.csv has a column ``split`` (train, test). For each model size, the training curves are
fitted and the test curves forecast. Scores are means over test curves, for each model and for the average of all models
with equal weights. PT warm-up is left out. The last columns are ratios to the MAE of the published point fit (Luo et
al., ICLR 2025, arXiv 2503.12811), for the sizes that it has. The rows "published" are forecasts by its coefficients.
"""

import argparse

import numpy as np
import pandas as pd

from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.average import Average, fit_average
from bayes_cpt.inference.fit import Fit
from bayes_cpt.laws.features import design, with_areas
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select

PUBLISHED_MAE = {25_000_000: 0.00376, 100_000_000: 0.00435, 400_000_000: 0.00484}
PUBLISHED = pd.DataFrame.from_dict(
    {
        25_000_000: (3.04045406, 0.52468604, 0.50786857, 363.78751622, 2.06560812, 0.58279013, 0.64142257),
        100_000_000: (2.6514477, 0.60115152, 0.45295811, 437.9464276, 2.13245612, 0.59785199, 0.65523644),
        400_000_000: (2.37474466, 0.65421216, 0.42878731, 523.42464371, 2.02462735, 0.59350493, 0.63472457),
    },
    orient="index",
    columns=["L0", "A", "alpha", "B", "C", "beta", "gamma"],
)
"""Coefficients by model size, from the law's repository (github.com/thu-yao-01-luo/MultiPowerLaw)."""
COLUMNS = ["mae", "rmse", "wis", "crps", "cover50", "cover90", "width90"]


def unseen(curves: Curves) -> Curves:
    """Return the test runs and their losses after warm-up."""
    names = curves.runs.index[curves.runs["split"] == "test"]
    losses = curves.losses[curves.losses["run"].isin(names)]
    described = losses["step"] >= losses["run"].map({run: curves.lineage(run).warmup for run in names})
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
        if size in PUBLISHED.index:
            error = published_errors(curves, PUBLISHED.loc[size])
            by_run = [error.abs().groupby("run").mean(), (error**2).groupby("run").mean() ** 0.5]
            rows[size, "published"] = [*(values.mean() for values in by_run), *[np.nan] * (len(COLUMNS) + 1)]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*COLUMNS, "r2", "mae / theirs", "crps / theirs"])
    print(table.round(4).to_string())


def published_errors(curves: Curves, given: pd.Series) -> pd.Series:
    """Return measured minus forecast loss on the test runs, by run, with the published coefficients."""
    losses = unseen(curves).losses
    peak = curves.lr["lr"].max()
    static = design(curves, losses, peak, LAWS["multi-power"].memory_kernel)
    tail = 1 / given["beta"]
    memory = tail * peak ** (given["gamma"] - 1) / given["C"]
    shape = {"memory": memory, "rate_power": given["gamma"], "tail": tail}
    features = with_areas(static, {name: np.asarray(value) for name, value in shape.items()})
    # here L0 includes the full effect of the warm-up
    forecasts = LAWS["multi-power"].predict(
        "pt",
        features,
        {"L0": given["L0"] + given["B"] * peak, "A": given["A"], "alpha": given["alpha"], "C": given["B"] / memory},
    )
    return losses.set_index("run")["loss"] - forecasts.loss[static.places(losses)]


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
