"""Cost of an unknown pre-training: fits of pilots alone compared with fits of whole histories.

    uv run python benchmarks/open_checkpoint.py [DATA] [--where QUERY] [--domains pt,cpt] [--only recover leave pilot]
        [--pilots RUN ...]

``recover``: for each checkpoint of the data, the posterior of its loss potential from the CPT runs that start there,
without parents and pre-training runs. ``leave``: the runs of the checkpoint with most runs are left out in turn, with
the history hidden (open-checkpoint) and known (cpt-replay). ``pilot``: the other runs from a checkpoint are forecast
from one run alone, with the final LR of pre-training stated, and without.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from bayes_cpt._support.shipped import shipped
from bayes_cpt.evaluation.backtest import backtest
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.evaluation.verdict import means
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.inference.fit import Fit, fit
from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.statistical_model.model_files import read_spec
from bayes_cpt.statistical_model.stated_priors import with_history

COLUMNS = ["mae", "wis", "cover50", "cover90", "width90"]
PARTS = ("recover", "leave", "pilot")
PILOTS = ("cpt_m_wsd000_wsd_r050", "cpt_m_wsd000_wsd_r025", "cpt_m_wsd000_wsd_r000")


def part(curves: Curves, runs: Sequence[str], *, hidden: bool) -> Curves:
    """Return CPT runs without their history, or with it."""
    names = set(runs) | (set() if hidden else {name for run in runs for name in curves.lineage(run).ancestors})
    table = curves.runs[curves.runs.index.isin(names)]
    lr, losses = (rows[rows["run"].isin(names)] for rows in (curves.lr, curves.losses))
    return curves_from_frames(table.assign(parent=None, parent_step=None) if hidden else table, lr, losses)


def checkpoints(curves: Curves) -> dict[str, list[str]]:
    """Return the CPT runs from each checkpoint, those with most runs first."""
    found: dict[str, list[str]] = {}
    for run, link in curves.records.items():
        if link.phase == "cpt":
            found.setdefault(f"{link.parent} at {link.parent_step}", []).append(run)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def true_potential(curves: Curves, run: str) -> tuple[float, float]:
    """Return the LR at the checkpoint over the peak of pre-training, and that peak."""
    history = [curves.learning_rate(name) for name in curves.lineage(run).ancestors]
    last = float(history[-1][curves.records[run].parent_step - 1])
    peak = max(float(rates.max()) for rates in history)
    return last / peak, peak


def recover(curves: Curves) -> pd.DataFrame:
    """Fit each checkpoint's runs alone, and compare the posterior of the loss potential with the true value."""
    rows = []
    for name, runs in checkpoints(curves).items():
        share, peak = true_potential(curves, runs[0])
        largest = max(float(curves.learning_rate(run).max()) for run in runs)
        found = fit(part(curves, runs, hidden=True), "open-checkpoint", draws=2000, tune=600, progress=False)
        low, middle, high = np.quantile(found.posterior["loss_potential"], [0.05, 0.5, 0.95])
        # the law's loss potential is relative to the largest LR of the pilots
        rows.append((name, len(runs), share, share * peak / largest, low, middle, high))
        print(f"{name}: {found.verdict}", flush=True)
    columns = ["checkpoint", "runs", "of the PT peak", "of the pilots' peak", "q05", "q50", "q95"]
    return pd.DataFrame(rows, columns=columns)


def leave(curves: Curves) -> pd.DataFrame:
    """Leave each run of the first checkpoint out, with its history hidden and known."""
    runs = next(iter(checkpoints(curves).values()))
    tables = {}
    for title, model, hidden in (("hidden", "open-checkpoint", True), ("known", "cpt-replay", False)):
        result = backtest(part(curves, runs, hidden=hidden), model, done=lambda *said: print(*said, flush=True))
        doubts = result.table.drop_duplicates("fold")["converged"]
        print(f"{title}: {int((~doubts).sum())} of {len(doubts)} fits did not converge", flush=True)
        tables[title] = means(result.table)[COLUMNS]
    return pd.concat(tables, names=["history"])


def pilot(curves: Curves, pilots: Sequence[str]) -> pd.DataFrame:
    """Forecast the other runs of a pilot's checkpoint from it, with the final LR of pre-training stated or not."""
    tables = {}
    for run in pilots:
        runs = next(runs for runs in checkpoints(curves).values() if run in runs)
        alone = part(curves, [run], hidden=True)
        annealed = with_history(alone, annealed_to=true_potential(curves, run)[0])
        specs = {"nothing": read_spec("open-checkpoint"), "annealed": annealed}
        for stated, spec in specs.items():
            found = fit(alone, spec, domains=["pt", "cpt"], draws=2000, tune=600, progress=False)
            low, middle, high = found.posterior["loss_potential"].quantile([0.05, 0.5, 0.95]).to_numpy()
            potential = f"{middle:.2f} ({low:.2f} to {high:.2f})"
            print(f"{run}, {stated} stated: loss potential {potential}; {found.verdict}", flush=True)
            others = part(curves, [name for name in runs if name != run], hidden=True)
            tables[run, stated] = forecast_of_others(found, others)
    table = pd.concat(tables, names=["pilot", "stated"])
    print(table.round(4).to_string(), flush=True)
    return table.groupby(["stated", "pilot", "domain"]).mean()


def forecast_of_others(found: Fit, others: Curves) -> pd.DataFrame:
    """Score the forecasts of runs, from their first step on."""
    losses = others.losses[(others.losses["step"] > 0) & others.losses["domain"].isin(found.domains)]
    steps = {str(run): rows["step"].unique().tolist() for run, rows in losses.groupby("run")}
    return averaged(score_draws(forecast(found, others, steps=steps), losses.reset_index(drop=True)))[COLUMNS]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", nargs="?", default=str(shipped("data/microcpt")))
    parser.add_argument("--where", default="model_size == 332448")
    parser.add_argument("--domains", help="such as pt,cpt; by default all")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--pilots", nargs="+", default=PILOTS, metavar="RUN")
    given = parser.parse_args()
    curves = select(read_curves(given.data), given.where, given.domains and given.domains.split(","))
    parts = dict(zip(PARTS, (recover, leave, partial(pilot, pilots=given.pilots)), strict=True))
    for name in given.only:
        print(f"\n{parts[name](curves).round(4).to_string()}\n", flush=True)


if __name__ == "__main__":
    main()
