"""Forecasts of whole CPT runs that the fit has not seen, scored.

    uv run python benchmarks/leave_out.py [DATA] [-m MODEL] [--where QUERY]

DATA is a curve folder (by default the shipped one, its larger model). Each CPT run is left out in turn, together with
its twins of another seed, and forecast from a fit of all the others: MAE, RMSE, weighted interval score and coverage.
"""

import argparse

import pandas as pd

from bayes_cpt.curves import Curves, read_curves, select
from bayes_cpt.forecasting import forecast, table
from bayes_cpt.inference import fit
from bayes_cpt.score import score
from bayes_cpt.shipped import shipped

COLUMNS = ["mae", "rmse", "wis", "cover50", "cover90", "width90"]


def twins(curves: Curves) -> list[list[str]]:
    """Return groups of CPT runs that differ in seed alone."""
    groups: dict[tuple[object, ...], list[str]] = {}
    cpt = curves.runs[curves.runs["phase"] == "cpt"]
    for run, row in cpt.iterrows():
        rates = curves.lr[curves.lr["run"] == run]
        key = (row["parent"], row["parent_step"], row["replay"], tuple(rates["step"]), tuple(rates["lr"]))
        groups.setdefault(key, []).append(str(run))
    return list(groups.values())


def left_out(curves: Curves, model: str, group: list[str]) -> pd.DataFrame:
    """Fit without a group of runs and score its forecast."""
    fitted = fit(select(curves, f"run not in {group}"), model, progress=False)
    planned, rates, losses = curves.runs.loc[group], curves.lr, curves.losses[curves.losses["step"] > 0]
    unseen = Curves(planned, rates[rates["run"].isin(group)], losses[losses["run"].isin(group)])
    steps = {run: rows["step"].unique().tolist() for run, rows in unseen.losses.groupby("run")}
    scores = score(
        table(forecast(fitted, unseen, steps={str(run): asked for run, asked in steps.items()})), unseen.losses
    )
    return scores.assign(converged=fitted.converged)


def main() -> None:
    """Print the scores of each run, and their means by domain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=shipped("data/microcpt"))
    parser.add_argument("-m", "--model", default="cpt-replay")
    parser.add_argument("--where", default="model_size == 332448")
    arguments = parser.parse_args()
    curves = select(read_curves(arguments.data), arguments.where, ["pt", "cpt"])
    scores = []
    for group in twins(curves):
        scores.append(left_out(curves, arguments.model, group))
        print(scores[-1].round(4).to_string(header=len(scores) == 1), flush=True)
    print(pd.concat(scores).groupby("domain")[COLUMNS].mean().round(4).to_string())


if __name__ == "__main__":
    main()
