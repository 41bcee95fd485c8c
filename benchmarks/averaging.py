"""Value of averaging laws when few replay ratios were run: forecasts of other ratios by each law and by averages.

    uv run python benchmarks/averaging.py [-m cpt-replay -m cpt-replay-exponential ...] [--fits FOLDER]

Pilots are the shipped larger model's pre-training runs, its CPT runs without replay, and those at one or two other
ratios. The runs at the remaining ratios are forecast. A planner does not know the true form, so there are two truths:
the measured losses, which follow the own-share form, and losses of the same runs simulated by the paper's exponential
form (Fig. 19's coefficients). Weights are found from the pilots alone: each of their ratios except 0 is left out in
turn. ``best pilot`` is the law with the lowest mean CRPS there. Scores are means over runs. With --fits, fits are saved
in a folder and read again from there.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from bayes_cpt._support.shipped import shipped
from bayes_cpt.evaluation.backtest import unseen
from bayes_cpt.evaluation.compare import Comparison, judge, put_together
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.average import Average, average
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import REFIT
from bayes_cpt.inference.storage import load, save
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, measured_steps, select
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.simulation.published import REPLAY
from bayes_cpt.simulation.simulate import simulate

SIZE = "model_size == 332448"
BETA = 0.3
"""Not printed with Fig. 19; 0.15 to 0.37 in the paper's other fits."""
COLUMNS = ["mae", "wis", "cover50", "cover90", "width90"]


def truths() -> dict[str, Curves]:
    """Return the losses as measured, and as simulated by Eq. 8."""
    measured = select(read_curves(shipped("data/microcpt")), SIZE, ["pt", "cpt"])
    # B is printed as the shift without replay, of which Eq. 8's factor is not 1
    factor = {"pt": -np.expm1(-REPLAY["pt"]["a2"]), "cpt": np.expm1(REPLAY["cpt"]["a2"])}
    coefficients = {domain: {**own, "beta": BETA, "B": own["B"] / factor[domain]} for domain, own in REPLAY.items()}
    simulated = simulate(measured, "cpt-replay-eq8", coefficients, memory=100, noise=0.005, every=100, seed=1)
    return {"measured": measured, "simulated": simulated}


def pilot_fit(prepared: Prepared, ratios: Sequence[float], folder: Path | None) -> Fit:
    """Fit the pre-training runs and the CPT runs at these ratios."""
    path = folder / f"{prepared.spec.name}_{'_'.join(f'{ratio:g}' for ratio in ratios)}.nc" if folder else None
    if path and path.is_file():
        kept = load(path)
        assert isinstance(kept, Fit)
        return kept
    fitted = fit_prepared(prepared, REFIT, without(prepared, ratios))
    print(f"{prepared.spec.name} at {ratios}: {fitted.verdict}", flush=True)
    if path:
        save(fitted, path)
    return fitted


def without(prepared: Prepared, ratios: Sequence[float]) -> Holdout:
    """Return a holdout of the CPT runs at other ratios."""
    replay = prepared.curves.runs["replay"].dropna()
    return Holdout("other ratios", dict.fromkeys(replay.index[~replay.isin(ratios)].astype(str), 0))


def at(prepared: Prepared, ratio: float) -> Holdout:
    """Return a holdout of the CPT runs at a ratio."""
    replay = prepared.curves.runs["replay"].dropna()
    return Holdout(f"{ratio:g}", dict.fromkeys(replay.index[replay == ratio].astype(str), 0))


def compared(compiled: Mapping[str, Prepared], pilots: Sequence[float], folder: Path | None) -> Comparison:
    """Leave out each ratio of the pilots except 0, and forecast it from the others."""
    judged = {
        (f"{ratio:g}", name): judge(
            prepared,
            at(prepared, ratio),
            pilot_fit(prepared, [one for one in pilots if one != ratio], folder),
        )
        for ratio in pilots
        if ratio
        for name, prepared in compiled.items()
    }
    return put_together("replay", judged, len(pilots) - 1)


def scores(fit: Fit | Average, prepared: Prepared, ratio: float) -> pd.DataFrame:
    """Forecast the runs at a ratio and score them, by run and domain."""
    measured = unseen(prepared, at(prepared, ratio))
    drawn = forecast(fit, measured, steps=measured_steps(measured))
    return averaged(score_draws(drawn, measured.losses)).reset_index()


def forecasts(curves: Curves, laws: Sequence[str], folder: Path | None) -> pd.DataFrame:
    """Return the scores of all forecasts from all sets of pilots, by each law and average."""
    compiled = {law: prepare(curves, law) for law in laws}
    first = next(iter(compiled.values()))
    others = sorted(float(ratio) for ratio in curves.runs["replay"].dropna().unique() if ratio)
    rows = []
    for count in range(1, len(others)):
        for chosen in combinations(others, count):
            pilots = [0.0, *chosen]
            comparison = compared(compiled, pilots, folder)
            weights = comparison.weights
            crps = comparison.points.groupby(["model", "run", "domain"])["crps"].mean().groupby("model").mean()
            print(f"\npilots at {pilots}: weights {weights}\n{comparison.table.round(4).to_string()}", flush=True)
            fits = {law: pilot_fit(prepared, pilots, folder) for law, prepared in compiled.items()}
            forms: dict[str, Fit | Average] = {
                **fits,
                "best pilot": fits[str(crps.idxmin())],
                "stacked": average(list(fits.values()), weights),
                "equal": average(list(fits.values())),
            }
            for ratio in sorted(set(others) - set(chosen)):
                for name, fit in forms.items():
                    rows.append(scores(fit, first, ratio).assign(pilots=str(pilots), ratios=count + 1, by=name))
    return pd.concat(rows, ignore_index=True)


def main() -> None:
    """Print weights and scores for all pilots, then their means by number of ratios, for each truth and over both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--fits", type=Path)
    arguments = parser.parse_args()
    laws = arguments.model or ["cpt-replay", "cpt-replay-exponential", "cpt-replay-monotone"]
    tables = []
    for truth, curves in truths().items():
        folder = arguments.fits / truth if arguments.fits else None
        tables.append(forecasts(curves, laws, folder).assign(truth=truth))
        print(tables[-1].groupby(["pilots", "by", "domain"], sort=False)[COLUMNS].mean().round(4).to_string())
    table = pd.concat(tables, ignore_index=True)
    by_truth = table.groupby(["truth", "ratios", "domain", "by"], sort=False)[COLUMNS].mean()
    print(by_truth.round(4).to_string())
    print(by_truth.groupby(["ratios", "domain", "by"], sort=False).mean().round(4).to_string())


if __name__ == "__main__":
    main()
