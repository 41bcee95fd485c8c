"""Effective draws per second: the textbook form of the law with PyMC's own NUTS, compared with bayes_cpt.

    uv run python benchmarks/sampling.py

One D_pt curve simulated from Fig. 3's coefficients (Wang et al. 2025): WSD, 30,000 + 30,000 steps, noise 0.003, a
point every 400 steps. Smallest bulk ESS over L0, A, alpha, B, E and beta, per second of sampling (search of the mode
and warm-up included, compilation left out), 2 chains.
"""

import re
import time
from collections.abc import Mapping
from typing import Any

import arviz as az
import numpy as np
import nutpie
import pandas as pd
import pymc as pm
import xarray as xr
from bayes_cpt.inference.density import density_of
from bayes_cpt.statistical_model.pymc_model import build

from bayes_cpt.inference.sampling import sample_posterior
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.laws.features import with_areas
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.runs.curve_folder import curves_from_frames
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.schedules import learning_rates, wsd
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model.model_files import parse_spec, read_spec
from bayes_cpt.statistical_model.observations import Observations, observe

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
    return simulate(planned, "cpt", {"pt": KNOWLEDGE_PILE["pt"]}, memory=MEMORY, noise=0.003, every=400, seed=1)


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
        pm.Normal("loss", LAWS["cpt"].predict("pt", features, own).loss, noise, observed=observations.losses["pt"])
    return model


def report(name: str, tree: xr.DataTree, seconds: float) -> float:
    """Print a row of the table and return effective draws per second."""
    summary = pd.DataFrame(az.summary(tree, var_names=NAMES, kind="diagnostics", round_to="none"))
    smallest, diverging = float(summary["ess_bulk"].min()), int(tree["sample_stats"]["diverging"].to_numpy().sum())
    print(
        f"{name:<44} {smallest:7.0f} draws {seconds:7.1f} s {smallest / seconds:8.1f} /s {diverging:4d} divergent",
        flush=True,
    )
    return smallest / seconds


def timed_textbook(observations: Observations) -> float:
    """Sample the textbook form with PyMC."""
    with textbook(observations):
        pm.sample(10, tune=10, **OPTIONS)  # compiles
        start = time.perf_counter()
        tree = pm.sample(1000, tune=1000, **OPTIONS)
    return report("textbook form, PyMC's NUTS", tree, time.perf_counter() - start)


def timed(name: str, text: str, observations: Observations) -> float:
    """Sample a model file's text with bayes_cpt."""
    model = build(parse_spec(name, text), observations)
    density = density_of(model)
    density.evaluate(density.start)
    start = time.perf_counter()
    tree = sample_posterior(model, density, SamplerSettings(draws=1000, tune=300, chains=2, progress=False))
    return report(name, tree, time.perf_counter() - start)


def timed_with_numba(name: str, text: str, observations: Observations) -> float:
    """Sample the same model with nutpie's defaults: Numba, low-rank mass matrix. Compiling takes a minute or more."""
    compiled = nutpie.compile_pymc_model(build(parse_spec(name, text), observations))
    start = time.perf_counter()
    tree = nutpie.sample(compiled, draws=1000, tune=1000, chains=2, seed=1, adaptation="low_rank", progress_bar=False)
    return report(name, tree, time.perf_counter() - start)


def without_discrepancy(text: str) -> str:
    """Return a model file's text without its discrepancy components."""
    return re.sub(r"\[priors\.(\w+_scale)\]\n(.+\n)+\n?", "", text)


def main() -> None:
    """Print the table."""
    spec = read_spec("cpt")
    observations = observe(simulated(), spec.law, ["pt"])
    print(f"{len(observations.losses['pt'])} points")
    reference = timed_textbook(observations)
    plain = timed("bayes_cpt, independent noise, memory inferred", without_discrepancy(spec.text), observations)
    numba = timed_with_numba("the same, compiled by Numba", without_discrepancy(spec.text), observations)
    full = timed("bayes_cpt, full likelihood, memory inferred", spec.text, observations)
    print(
        f"ratios to the textbook form: independent noise {plain / reference:.1f}, full {full / reference:.1f}, ", end=""
    )
    print(f"independent noise compiled by Numba {numba / reference:.1f}")
    print(f"the full likelihood costs {plain / full:.1f} times the independent noise")


if __name__ == "__main__":
    main()
