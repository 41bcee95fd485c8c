"""Time of a backtest on one and on two worker processes of a Dask cluster on this machine, one thread each.

    uv run python benchmarks/workers.py -o workers.csv

Each run of the larger model of data/microcpt is left out in turn (--where and --leave choose others). Each cluster
first compiles the model on its workers, by a short backtest that is not timed. One row is appended: seconds on one
worker, on two, and their ratio.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import LocalCluster

import bayes_cpt as bc

ROOT = Path(__file__).parents[1]
WARM_UP: dict[str, Any] = {"draws": 50, "tune": 50}


def seconds(workers: int, curves: bc.Curves, **options: Any) -> tuple[float, pd.DataFrame]:
    """Return the time of a backtest on so many workers, and its scores."""
    started: Any = LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0")
    with started as cluster:
        address = cluster.scheduler_address
        bc.backtest(curves, scheduler=address, **(options | WARM_UP))
        start = time.perf_counter()
        result = bc.backtest(curves, scheduler=address, **options)
        return time.perf_counter() - start, result.table


def main() -> None:
    """Append a row to the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("workers.csv"))
    parser.add_argument("--where", default="model_size == 332448")
    parser.add_argument("--leave", default="run")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--tune", type=int, default=300)
    given = parser.parse_args()
    curves = bc.select(bc.read_curves(ROOT / "data" / "microcpt"), given.where)
    options = {"domains": ["pt", "cpt"], "leave": given.leave, "draws": given.draws, "tune": given.tune, "seed": 1}
    one, scores_of_one = seconds(1, curves, **options)
    two, scores_of_two = seconds(2, curves, **options)
    row = {
        "where": given.where,
        "leave": given.leave,
        "draws": given.draws,
        "tune": given.tune,
        "folds": int(scores_of_one["folds"].iloc[0]),
        "seconds_one": round(one, 1),
        "seconds_two": round(two, 1),
        "ratio": round(one / two, 2),
        "same_scores": scores_of_one.equals(scores_of_two),
    }
    pd.DataFrame([row]).to_csv(given.output, mode="a", header=not given.output.exists(), index=False)
    print(row)


if __name__ == "__main__":
    main()
