"""Forecasts of left-out runs by scales from the priors, and by scales that the other left-out runs teach.

    uv run python benchmarks/left_out_scales.py [FOLDER ...] [--where QUERY] [-m MODEL]
        [--table benchmarks/results/left_out_scales.csv]

Each run is left out once. Its forecast is by a fit to the others, the same in all rows; what differs is how far a run
departs from the law: by the priors, by scales learnt from the other left-out runs, and with a factor of the width too.
`bayes-cpt fit` does the second or the third, by the score of held-out runs. Rows of the table for other folders stay.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bayes_cpt._support.shipped import shipped
from bayes_cpt.evaluation.left_out_scales import (
    CANDIDATES,
    STRETCH_PRIOR,
    LeftOut,
    Scales,
    drawn_scales,
    forecast_variance,
    leave_out,
    suited,
)
from bayes_cpt.forecasting.forecast_table import LEVELS
from bayes_cpt.inference.fit import fit
from bayes_cpt.inference.settings import REFIT
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import select

DRAWS = 2_000
COLUMNS = ["mae", "wis", "cover50", "cover90", "width90"]
FOLDERS = {"data/microcpt": "model_size == 332448", "data/checkpoints": None}


def scored(one: LeftOut, scales: Scales, weights: np.ndarray, random: np.random.Generator) -> dict[str, float]:
    """Score the forecast of a left-out run, with scales drawn by their weights."""
    chosen = random.choice(len(weights), DRAWS, p=weights)
    scale, stretch = {name: of[chosen] for name, of in scales.scale.items()}, scales.stretch[chosen]
    spread = np.sqrt([forecast_variance(one, scale, stretch, place) for place in range(len(one.residual))])
    draws = spread * random.standard_normal((len(one.residual), DRAWS))
    quantiles = np.quantile(draws, list(LEVELS.values()), axis=1)
    pinball = [
        2 * np.maximum(level * (one.residual - at), (level - 1) * (one.residual - at))
        for level, at in zip(LEVELS.values(), quantiles, strict=True)
    ]
    low, lower, _middle, upper, high = quantiles
    return {
        "mae": float(np.abs(one.residual).mean()),
        "wis": float(np.mean(pinball)),
        "cover50": float(((one.residual >= lower) & (one.residual <= upper)).mean()),
        "cover90": float(((one.residual >= low) & (one.residual <= high)).mean()),
        "width90": float((high - low).mean()),
    }


def rows(folder: str, where: str | None, model: str) -> Iterator[dict[str, object]]:
    """Yield the scores of each left-out run on each domain, by each way."""
    random = np.random.default_rng(1)
    curves = select(read_curves(folder), where, ["pt", "cpt"])
    whole = fit(curves, model, progress=False)
    print(whole.verdict, flush=True)
    prepared, found = leave_out(whole, REFIT, lambda *said: print(*said, flush=True))
    factor = np.exp(STRETCH_PRIOR * random.standard_normal(CANDIDATES))
    for domain in whole.domains:
        runs = [one for one in found if one.domain == domain]
        scale = drawn_scales(prepared, domain, random)
        plain, stretched = (suited(scale, of, runs) for of in (np.ones(CANDIDATES), factor))
        for place, one in enumerate(runs):
            ways = {
                "priors": (plain, np.full(CANDIDATES, 1 / CANDIDATES)),
                "learnt": (plain, plain.weights(without=place)),
                "learnt, width": (stretched, stretched.weights(without=place)),
            }
            for way, (scales, weights) in ways.items():
                yield {"domain": domain, "run": one.run, "way": way, **scored(one, scales, weights, random)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over runs, the number of runs, and the lowest coverage of a run."""
    groups = table.groupby(["domain", "way"], sort=False)
    means = groups[COLUMNS].mean().round(4)
    return means.assign(worst90=groups["cover90"].min().round(4), runs=groups.size()).reset_index()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", help="curve folders; by default the shipped ones")
    parser.add_argument("--where")
    parser.add_argument("-m", "--model", default="cpt-replay")
    parser.add_argument("--table", type=Path)
    given = parser.parse_args(arguments)
    asked = dict.fromkeys(given.folders, given.where) or {
        str(shipped(name)): where for name, where in FOLDERS.items() if (Path(name)).exists()
    }
    found = [
        summary(pd.DataFrame(rows(folder, where, given.model))).assign(folder=Path(folder).name, model=given.model)
        for folder, where in asked.items()
    ]
    table = pd.concat(found)[["folder", "model", "domain", "way", "runs", *COLUMNS, "worst90"]]
    print(table.to_string(index=False))
    if given.table:
        if given.table.exists():
            known = pd.read_csv(given.table)
            same = known["folder"].isin(table["folder"]) & (known["model"] == given.model)
            table = pd.concat([known[~same], table])
        table.to_csv(given.table, index=False)


if __name__ == "__main__":
    main()
