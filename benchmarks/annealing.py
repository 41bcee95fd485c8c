"""Forms of the annealing term on public pre-training curves: mean errors and coverage of forecasts by family.

    uv run python benchmarks/annealing.py [--split mpl --split ladder] [--schedules lr-scheduling]
        [-m annealing-eq1 -m annealing] [--table benchmarks/results/annealing.csv]

--split is a curve folder whose runs.csv has a column ``split`` (train, test), fitted by model size. --schedules is the
folder of runs that differ in peak, length and decay (fabian-sp/lr-scheduling): four runs of one peak forecast the other
runs of this peak, and six runs of two peaks those of the third, between them or twice as high. Scores are means over
the forecast runs, from step 2,000 (split) or 3,000 (schedules).
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import fit
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select

COLUMNS = ["mae", "wis", "cover50", "cover90", "width90"]
PEAKS = ("0.0005", "0.001", "0.002")
ONE_PEAK = [f"{kind}_{steps}" for kind, steps in (
    ("cos_0.001_sqrt0.0", 15000), ("cos_0.001_sqrt0.0", 25000), ("wsd_0.001_linear0.2", 15000),
    ("wsd_0.001_linear0.8", 25000),
)]  # fmt: skip
TWO_PEAKS = {"peak between": ("0.0005", "0.002", "0.001"), "peak twice as high": ("0.0005", "0.001", "0.002")}


def of_runs(curves: Curves, runs: list[str], first: int = 0) -> Curves:
    """Return some runs, with their losses from a step on."""
    losses = curves.losses[curves.losses["run"].isin(runs) & (curves.losses["step"] >= first)]
    return Curves(curves.runs.loc[runs], curves.lr[curves.lr["run"].isin(runs)], losses)


def split_cases(folder: str) -> Iterator[tuple[str, Curves, Curves]]:
    """Return a name, the fitted and the forecast runs of each model size."""
    everything = read_curves(folder)
    for size in sorted(everything.runs["model_size"].unique()):
        curves = select(everything, f"model_size == {float(size)!r}")
        tested = curves.runs.index[curves.runs["split"] == "test"].tolist()
        yield (
            f"{Path(folder).name} {size / 1e6:.0f}M",
            select(curves, "split == 'train'"),
            of_runs(curves, tested, 2000),
        )


def schedule_cases(folder: str) -> Iterator[tuple[str, Curves, Curves]]:
    """Return a name, the fitted and the forecast runs of each question about schedules."""
    curves = read_curves(folder)

    def others(peak: str, fitted: list[str]) -> Curves:
        runs = [run for run in map(str, curves.runs.index) if f"_{peak}_" in run and run not in fitted]
        return of_runs(curves, runs, 3000)

    yield "one peak", of_runs(curves, ONE_PEAK), others("0.001", ONE_PEAK)
    for name, (first, second, asked) in TWO_PEAKS.items():
        kinds = ("cos_{}_sqrt0.0_25000", "wsd_{}_linear0.2_15000", "wsd_{}_linear0.8_25000")
        fitted = [kind.format(peak) for peak in (first, second) for kind in kinds]
        yield name, of_runs(curves, fitted), others(asked, fitted)


def row(name: str, model: str, fitted: Curves, asked: Curves) -> dict[str, object]:
    """Fit, forecast and score."""
    one = fit(fitted, model, progress=False)
    steps = {str(run): rows["step"].unique().tolist() for run, rows in asked.losses.groupby("run")}
    scores = averaged(score_draws(forecast(one, asked, steps=steps), asked.losses), ["run"])[COLUMNS].mean()
    return {"family": name, "model": model, "runs": len(asked.runs), **scores.round(4), "converged": one.converged}


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", action="append", default=[], help="may be repeated")
    parser.add_argument("--schedules", action="append", default=[])
    parser.add_argument("-m", "--model", action="append", help="may be repeated")
    parser.add_argument("--table", help="CSV file to write")
    arguments = parser.parse_args()
    cases = [case for folder in arguments.split for case in split_cases(folder)]
    cases += [case for folder in arguments.schedules for case in schedule_cases(folder)]
    models = arguments.model or ["annealing-eq1", "annealing"]
    table = pd.DataFrame([row(name, model, *parts) for name, *parts in cases for model in models])
    print(table.to_string(index=False))
    if arguments.table:
        table.to_csv(arguments.table, index=False)


if __name__ == "__main__":
    main()
