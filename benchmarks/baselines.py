"""Value of the Bayesian model: its forecasts of left-out runs compared with those of today's practice.

    uv run python benchmarks/baselines.py [DATA] [-m MODEL] [--paper] [--where QUERY] [--leave run] [--domains pt,cpt]

Each fold of `bayes-cpt backtest` is forecast by the model; by the same law with independent Gaussian noise of one
size; by least squares as in the paper (Huber loss of log losses, many starts) with a bootstrap of blocks of residuals;
and by the last value carried forward: the checkpoint's loss, with no width. Scores are means over runs. With --paper
the base falls with the paper's S1.
"""

import argparse
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import least_squares

from bayes_cpt._support.shipped import shipped
from bayes_cpt._support.typing import FloatArray
from bayes_cpt.evaluation.backtest import backtest, folds
from bayes_cpt.evaluation.scores import averaged, score_draws
from bayes_cpt.inference.fit import Prepared, prepare
from bayes_cpt.laws.features import Design, with_areas
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.likelihood import DomainModel, coefficients
from bayes_cpt.statistical_model.model_files import FORWARD_POWER, ModelSpec, Prior, parse_spec, read_spec

COLUMNS = ["mae", "rmse", "wis", "crps", "cover50", "cover90", "width90"]
HUBER = 1e-3
STARTS, REFITS, BLOCK = 16, 200, 20


def with_independent_noise(text: str) -> str:
    """Return a model file's text with noise of one size and no discrepancy."""
    plain = without_prior(text, r"\w+_scale(?<!replay_scale)")
    for name in ("noise_learning_rate", "noise_shift"):
        plain = re.sub(
            rf"(\[priors\.{name}\]\n(?:(?!\[).+\n)*?median = )\S+(\nsigma = )\S+", r"\g<1>1e-6\g<2>0.01", plain
        )
    return plain


def without_prior(text: str, names: str) -> str:
    """Return a model file's text without the priors whose names match a pattern."""
    return re.sub(rf"\[priors\.({names})\]\n(.+\n)+\n?", "", text)


def losses_by(model: DomainModel, static: Design, names: list[str], vector: FloatArray) -> FloatArray:
    """Return the law's losses for a vector of parameters; positive parameters are given as logs."""
    parameters = {
        name: np.asarray(value if name in SIGNED else np.exp(value)) for name, value in zip(names, vector, strict=True)
    }
    features = with_areas(static, parameters)
    return model.law.predict(model.domain, features, coefficients(model, parameters)).loss


SIGNED = {"loss_at_reference", "beta", "a1", "replay_slowing", "rate_exponent", FORWARD_POWER}


def centre_and_spread(prior: Prior, domain: str, scale: float, *, signed: bool) -> tuple[float, float]:
    """Return centre and spread of the starts of least squares, from the priors."""
    if signed:
        return prior.argument("mu", domain) * scale, prior.argument("sigma", domain) * scale
    return float(np.log(prior.argument("median", domain) * scale)), prior.argument("sigma", domain)


def least_squares_draws(prepared: Prepared, fold: Holdout, domain: str, unseen: Curves, seed: int) -> FloatArray:
    """Return forecasts (refits, points) of a domain by bootstrap of blocks of residuals, with residuals added."""
    observations, random = prepared.observations, np.random.default_rng(seed)
    model = prepared.models[domain]
    names = [*model.law.parameters, *({FORWARD_POWER} & set(prepared.spec.priors))]
    spread = [
        centre_and_spread(
            prior := prepared.spec.priors[name],
            domain,
            observations.scale(prior.unit, domain),
            signed=name in SIGNED,
        )
        for name in names
    ]
    centre, width = np.array(spread).T
    left = np.isin(np.array(observations.design.runs)[observations.design.run], list(fold.first_step))
    kept = ~left[observations.places[domain]]
    places, losses = observations.places[domain][kept], observations.losses[domain][kept]
    points = unseen.losses[unseen.losses["domain"] == domain]
    asked = observations.design.places(points)
    predict = partial(losses_by, model, observations.design, names)

    def residual(vector: FloatArray, target: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            off = np.log(np.maximum(predict(vector)[places], 1e-3)) - np.log(target)
        # a weak penalty bounds directions that the data do not identify
        return np.nan_to_num(np.concatenate([off, HUBER * 1e-2 * (vector - centre) / width]), nan=10, posinf=10)

    def fitted(start: FloatArray, target: FloatArray, most: int = 200) -> tuple[float, FloatArray]:
        found = least_squares(
            residual, start, args=(target,), loss="huber", f_scale=HUBER, x_scale=width, max_nfev=most
        )
        return float(found.cost), found.x

    starts = [centre, *(centre + width * random.standard_normal((STARTS - 1, len(names))))]
    best = min((fitted(start, losses) for start in starts), key=lambda pair: pair[0])[1]
    mean = predict(best)
    ratio = losses / mean[places]
    draws = []
    for _ in range(REFITS):
        again = fitted(best, mean[places] * blocks(ratio, places.size, random), 15)[1]
        draws.append(predict(again)[asked] * blocks(ratio, asked.size, random))
    return np.array(draws)


def blocks(ratio: FloatArray, count: int, random: np.random.Generator) -> FloatArray:
    """Return ratios of losses to the law, resampled in blocks with replacement."""
    starts = random.integers(0, max(1, ratio.size - BLOCK), count // BLOCK + 1)
    return np.concatenate([ratio[start : start + BLOCK] for start in starts])[:count]


def as_forecast(points: pd.DataFrame, draws: FloatArray) -> pd.DataFrame:
    """Score draws (draws, points) of measured points, by run and domain."""
    scored = []
    for (run, domain), rows in points.reset_index(drop=True).groupby(["run", "domain"]):
        values = draws[:, rows.index].reshape(1, len(draws), 1, 1, len(rows))
        forecast = xr.Dataset(
            {"loss": (("chain", "draw", "run", "domain", "step"), values)},
            coords={"run": [run], "domain": [domain], "step": rows["step"].to_numpy()},
        )
        scored.append(score_draws(forecast, rows))
    return pd.concat(scored)


def by_least_squares(curves: Curves, model: ModelSpec, leave: str) -> pd.DataFrame:
    """Score fits by least squares, as in the paper."""
    prepared = prepare(curves, model)
    scored = []
    for fold in folds(prepared.curves, leave):
        unseen = fold.unseen(prepared.curves)
        for domain, points in unseen.losses.groupby("domain"):
            draws = least_squares_draws(prepared, fold, str(domain), unseen, 1)
            scored.append(as_forecast(points, draws))
    return pd.concat(scored)


def by_last_value(curves: Curves, leave: str) -> pd.DataFrame:
    """Score the checkpoint's loss, carried forward."""
    scored = []
    for fold in folds(curves, leave):
        points = fold.unseen(curves).losses
        start = curves.losses[curves.losses["step"] == 0].set_index(["run", "domain"])["loss"]
        carried = start.reindex(pd.MultiIndex.from_frame(points[["run", "domain"]])).to_numpy()
        scored.append(as_forecast(points, np.tile(carried, (2, 1))))
    return pd.concat(scored)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", default=shipped("data/microcpt"))
    parser.add_argument("-m", "--model", default="cpt-replay")
    parser.add_argument("--paper", action="store_true", help="without a power of the LR in progress")
    parser.add_argument("--where", default="model_size == 332448")
    parser.add_argument("--leave", default="run")
    parser.add_argument("--domains", default="pt,cpt")
    parser.add_argument("--only", help="one of the rows")
    arguments = parser.parse_args()
    curves = select(read_curves(arguments.data), arguments.where, arguments.domains.split(","))
    model = read_spec(arguments.model)
    if arguments.paper:
        model = parse_spec(model.name, without_prior(model.text, FORWARD_POWER))
    rows: dict[str, Callable[[], pd.DataFrame]] = {
        "last value": partial(by_last_value, curves, arguments.leave),
        "least squares, block bootstrap": partial(by_least_squares, curves, model, arguments.leave),
        "independent noise": lambda: (
            backtest(
                curves, parse_spec("independent-noise", with_independent_noise(model.text)), leave=arguments.leave
            ).points
        ),
        "bayes_cpt": lambda: backtest(curves, model, leave=arguments.leave).points,
    }
    for name, forecast in rows.items():
        if arguments.only in {None, name}:
            means = averaged(forecast(), ["domain", "run"]).groupby("domain")[COLUMNS].mean()
            print(means.round(4).assign(way=name).to_string(header=name == "last value"), flush=True)


if __name__ == "__main__":
    main()
