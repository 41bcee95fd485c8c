"""Times in seconds of forecasts and decisions after start-up, for a fit file of the shipped curves.

uv run bayes-cpt fit data/microcpt --where "model_size == 332448" -o fit.nc
uv run python benchmarks/speed.py fit.nc
"""

import argparse
import time

import numpy as np

import bayes_cpt as bc
from bayes_cpt.planning.schedules import Schedule

PARENT = "pt_m_wsd000"


def planned(fit: bc.Fit | bc.Average, ratios: int, schedule: Schedule) -> bc.Curves:
    """Return a plan over replay ratios and a schedule's grid."""
    return bc.resolve(bc.plan(parent=PARENT, replay=np.linspace(0, 1, ratios).tolist(), schedule=schedule), fit.curves)


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fit")
    fit = bc.load(parser.parse_args().fit)
    curves = planned(fit, 100, bc.wsd(peak=2e-3, steps=3000, warmup=100))

    start = time.perf_counter()
    rows = bc.table(bc.forecast(fit, curves, every=15))
    print(f"forecast of 100 runs x 200 steps, {len(rows)} rows: {time.perf_counter() - start:.1f} s")

    curves = planned(fit, 100, bc.wsd(peak=np.geomspace(5e-4, 2e-3, 10).tolist(), steps=3000, warmup=100))
    start = time.perf_counter()
    ends = {str(run): [3000] for run in curves.runs.index}
    decision = bc.decide(bc.forecast(fit, curves, steps=ends), {"pt": 0.5, "cpt": 0.5}, [bc.at_most("pt", change=0.2)])
    print(f"decision over {len(decision.table)} candidates: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
