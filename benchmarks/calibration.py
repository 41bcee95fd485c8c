"""Simulation-based calibration of the shipped models: ranks of known truths among draws of their posteriors.

    uv run python benchmarks/calibration.py [-m MODEL ...] [--simulations 1000] [-o docs/images/calibration.png]
        [--table benchmarks/results/calibration.csv]

Truths are drawn from a model's prior, and losses of a small design (`bayes_cpt.pilot_runs`) from the truths.
Prints one row per model and the three parameters with the smallest p-values, and draws the ranks of all. The rows are
written to --table after each model.
"""

import argparse
import time

import pandas as pd

from bayes_cpt.calibration.calibrate import Calibration, calibrate
from bayes_cpt.inference.fit import prepare
from bayes_cpt.plots.calibration import plot_calibration
from bayes_cpt.simulation.simulate import pilot_runs
from bayes_cpt.statistical_model.model_files import model_names, read_spec

SMALLEST = 3


def row(result: Calibration, moves: int, seconds: float) -> dict[str, object]:
    """Return a row of the table."""
    uniformity = result.uniformity.sort_values("p")
    return {
        "model": result.model,
        "simulations": len(result.ranks),
        "draws": result.draws,
        "moves": moves,
        "parameters": len(uniformity),
        "p below .05": f"{(uniformity['p'] < 0.05).mean():.3f}",
        "smallest corrected p": f"{uniformity['corrected'].iloc[0]:.3g}",
        "of": uniformity.index[0],
        "seconds": round(seconds),
    }


def main() -> None:
    """Print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append", help="may be repeated; by default all that are shipped")
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--domain", help="one domain alone: domains share only the parameters of an open checkpoint")
    parser.add_argument("--points", type=int, default=12, help="measured points per run")
    parser.add_argument("--draws", type=int, default=31, help="number of draws among which a truth is ranked")
    parser.add_argument("--moves", type=int, default=24, help="moves of each walker at the posterior")
    parser.add_argument("--table", help="CSV file of the rows")
    parser.add_argument("-o", "--output", default="docs/images/calibration.png")
    arguments = parser.parse_args()
    domains = None if arguments.domain is None else [arguments.domain]
    results: list[Calibration] = []
    rows = []
    for model in arguments.model or model_names():
        start = time.perf_counter()
        prepared = prepare(pilot_runs(read_spec(model).law, arguments.points), model, domains=domains)
        results.append(
            calibrate(prepared, simulations=arguments.simulations, draws=arguments.draws, moves=arguments.moves)
        )
        rows.append(row(results[-1], arguments.moves, time.perf_counter() - start))
        smallest = results[-1].uniformity.sort_values("p").head(SMALLEST)
        print(f"{results[-1].verdict}\n{smallest.round(4).to_string()}\n", flush=True)
        # after each model, so that results remain if the rest is interrupted
        if arguments.table:
            pd.DataFrame(rows).to_csv(arguments.table, index=False)
        plot_calibration(*results).savefig(arguments.output, dpi=120)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
