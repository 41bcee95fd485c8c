"""Effective draws per second: the textbook form of the law with PyMC's own NUTS, compared with bayes_cpt.

    uv run python benchmarks/sampling.py [-o benchmarks/results/sampling.csv]

One D_pt curve simulated from Fig. 3's coefficients (Wang et al. 2025): WSD, 30,000 + 30,000 steps, noise 0.003, a
point every 400 steps. Smallest bulk ESS over L0, A, alpha, B, E and beta, per second of a fit (search of the mode and
warm-up included, compilation left out): 2 chains of PyMC's NUTS, which sample the textbook form with fixed memory, and
bayes_cpt's default sampler, which infers the memory, with independent noise and with the full likelihood.
"""

import argparse
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr

from bayes_cpt._support.files import replacing
from bayes_cpt.inference.fit import fit_prepared, prepare
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.laws.features import with_areas
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.planning.schedules import learning_rates, wsd
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.runs.curves import Curves
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model.model_files import ModelSpec, parse_spec, read_spec
from bayes_cpt.statistical_model.observations import Observations, observe

OUTPUT = Path("benchmarks/results/sampling.csv")
NAMES = ["L0", "A", "alpha", "B", "E", "beta"]
MEMORY = 1000.0
OPTIONS: Mapping[str, Any] = {
    "nuts_sampler": "pymc",
    "chains": 2,
    "cores": 2,
    "random_seed": 1,
    "progressbar": False,
    "compute_convergence_checks": False,
}


def simulated() -> Curves:
    """Return one PT and one CPT run, 30,000 steps each."""
    steps = 30_000
    rates = learning_rates(wsd(peak=2e-4, steps=steps, warmup=500))
    one = pd.DataFrame({"step": np.arange(1, steps + 1), "lr": rates})
    runs = pd.DataFrame(
        {
            "run": ["pt", "cpt"],
            "phase": ["pt", "cpt"],
            "parent": ["", "pt"],
            "parent_step": [None, steps],
            "replay": [None, 0.0],
        }
    )
    planned = curves_from_frames(runs, pd.concat([one.assign(run="pt"), one.assign(run="cpt")]))
    return simulate(planned, "cpt-eq4", {"pt": KNOWLEDGE_PILE["pt"]}, memory=MEMORY, noise=0.003, every=400, seed=1)


def textbook(observations: Observations) -> pm.Model:
    """Return the law in the paper's form, with fixed memory and independent noise."""
    places = observations.places["pt"]
    features = {
        name: values[..., places]
        for name, values in with_areas(observations.design, {"memory": np.asarray(MEMORY)}).items()
    }
    with pm.Model() as model:
        own = {
            "L0": pm.Normal("L0", 3, 1),
            "A": pm.HalfNormal("A", 1),
            "alpha": pm.HalfNormal("alpha", 1),
            "C1": pm.HalfNormal("C1", 1),
            "C2": pm.HalfNormal("C2", 1),
            "B": pm.HalfNormal("B", 1),
            "E": pm.HalfNormal("E", 100),
            "beta": pm.HalfNormal("beta", 1),
        }
        noise = pm.HalfNormal("noise", 0.01)
        pm.Normal("loss", LAWS["cpt-eq4"].predict("pt", features, own).loss, noise, observed=observations.losses["pt"])
    return model


def measured(name: str, tree: xr.DataTree, seconds: float) -> dict[str, object]:
    """Print a row of the table and return it."""
    summary = pd.DataFrame(az.summary(tree, var_names=NAMES, kind="diagnostics", round_to="none"))
    smallest, diverging = float(summary["ess_bulk"].min()), int(tree["sample_stats"]["diverging"].to_numpy().sum())
    print(
        f"{name:<44} {smallest:7.0f} draws {seconds:7.1f} s {smallest / seconds:8.1f} /s {diverging:4d} divergent",
        flush=True,
    )
    return {
        "form": name,
        "effective_draws": round(smallest),
        "seconds": round(seconds, 2),
        "per_second": round(smallest / seconds, 1),
        "r_hat": round(float(summary["r_hat"].max()), 4),
        "divergent": diverging,
    }


def by_pymc(observations: Observations) -> dict[str, object]:
    """Sample the textbook form with PyMC."""
    with textbook(observations):
        pm.sample(10, tune=10, **OPTIONS)  # compiles
        start = time.perf_counter()
        tree = pm.sample(1000, tune=1000, **OPTIONS)
    return measured("textbook form, PyMC's NUTS", tree, time.perf_counter() - start)


def by_default(name: str, spec: ModelSpec, curves: Curves) -> dict[str, object]:
    """Fit a model by bayes_cpt's default sampler."""
    prepared = prepare(curves, spec)
    settings = SamplerSettings(progress=False)
    fit_prepared(prepared, settings.changed({"seed": 2}))  # compiles
    start = time.perf_counter()
    fitted = fit_prepared(prepared, settings)
    return measured(name, fitted.tree, time.perf_counter() - start)


def without_discrepancy(text: str) -> str:
    """Return a model file's text without its discrepancy components."""
    return re.sub(r"\[priors\.(\w+_scale)\]\n(.+\n)+\n?", "", text)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    output = parser.parse_args().output
    curves, spec = simulated(), read_spec("cpt-eq4")
    plain = parse_spec("cpt with independent noise", without_discrepancy(spec.text))
    observations = observe(curves, spec.law)
    print(f"{len(observations.losses['pt'])} points")
    rows = [
        by_pymc(observations),
        by_default("bayes_cpt, independent noise, memory inferred", plain, curves),
        by_default("bayes_cpt, full likelihood, memory inferred", spec, curves),
    ]
    table = pd.DataFrame(rows).assign(points=len(observations.losses["pt"]))
    with replacing(output) as temporary:
        table.to_csv(temporary, index=False)
    textbook_form, independent, full = table["per_second"]
    print(f"ratios to the textbook form: independent noise {independent / textbook_form:.1f}, ", end="")
    print(f"full {full / textbook_form:.1f}")
    print(f"the full likelihood costs {independent / full:.1f} times the independent noise")


if __name__ == "__main__":
    main()
