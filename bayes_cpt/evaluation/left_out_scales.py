"""Scales of what fitted runs do not inform, learnt from runs that are left out.

How far a new run departs from the law (the components with ``in_likelihood = false``) shows in runs that were not
fitted, and only there: in the likelihood these effects would let the law drift (docs/lab-log/discrepancy.md). So each
run is left out, the others are fitted, and the scales get a posterior from the residuals of the forecasts:

    prior x product over runs of exp(WEIGHT x mean over points of log t(residual; variance of the forecast))

Points of a run depart together, so all points of a run and domain count as ``WEIGHT`` observations. Student's t keeps a
single run from deciding. This is a generalised posterior (Bissiri, Holmes & Walker, *A general framework for updating
belief distributions*, J. R. Stat. Soc. B 78, 2016). The same residuals recalibrate the forecast as a whole, by a factor
of its width, where this improves forecasts of runs that the factor was not learnt from.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from bayes_cpt._support.typing import FloatArray
from bayes_cpt.errors import DataError
from bayes_cpt.evaluation.backtest import folds, unseen
from bayes_cpt.forecasting.forecast import STRETCH
from bayes_cpt.forecasting.trajectories import Conditional, conditional
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, full_posterior, prepare, with_data
from bayes_cpt.inference.settings import REFIT, SamplerOptions, SamplerSettings
from bayes_cpt.posterior.priors import of_domain, uninformed_draws
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.holdout import NOTHING

FEWEST = 5
"""Left-out groups of runs below which nothing is learnt: the priors know more."""
MOST = 12
"""Left-out groups of runs, evenly spaced among all, so that a fit stays within a few times its time."""
MOST_POINTS = 60
"""Points of a run and domain at which it is compared with its forecast."""
WEIGHT = 2.0
"""Independent observations that the points of a run on one domain count as."""
FREEDOM = 5.0
"""Degrees of freedom of Student's t."""
STRETCHED_FROM = 8
"""Left-out runs, counted by domain, from which the width of forecasts is recalibrated."""
STRETCH_PRIOR = 0.3
"""Standard deviation of the log of the factor of the width, before any run was left out."""
CANDIDATES = 20_000
"""Draws from the priors of the scales, of which those that suit the residuals are kept."""


NEGLIGIBLE = 1e-4
"""Probability of a draw, relative to the most probable one, below which it is left out of a sum."""


class LeftOut(NamedTuple):
    """A left-out run on one domain.

    Parameters
    ----------
    run, domain
        Names.
    residual
        (points,) Measured losses minus the mean of the forecast, nats.
    variance
        (points,) Variance of the forecast without effects of the run: parameters, effects of fitted runs, and noise.
    unit
        By component, (points,): variance by effects of the run, for a scale of 1.
    """

    run: str
    domain: str
    residual: FloatArray
    variance: FloatArray
    unit: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Scales:
    """Scales of one domain: draws from the priors, and how well each suits the left-out runs.

    Parameters
    ----------
    scale
        By component, (candidates,).
    stretch
        (candidates,) Factor of the width of forecasts.
    fits
        (left-out runs, candidates) Log of how well each candidate suits each left-out run.
    """

    scale: Mapping[str, FloatArray]
    stretch: FloatArray
    fits: FloatArray

    def weights(self, without: int | None = None) -> FloatArray:
        """Return the probability of each candidate, from all left-out runs or all but one."""
        kept = np.arange(len(self.fits)) != (-1 if without is None else without)
        total = self.fits[kept].sum(axis=0)
        found = np.exp(total - total.max(initial=-np.inf))
        return found / found.sum()

    @property
    def held_out(self) -> float:
        """Log score of each left-out run by what the others teach, summed."""
        scores = [np.log(self.weights(run) @ np.exp(suits)) for run, suits in enumerate(self.fits)]
        return float(np.sum(scores))


def learn_scales(
    fit: Fit,
    *,
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
    **sampler: Unpack[SamplerOptions],
) -> Fit:
    """Learn from left-out runs how far new runs depart from the law, for wider or narrower forecasts.

    Each CPT run, or PT run if there are none, is left out once, with runs that differ from it in their seed alone.

    Parameters
    ----------
    fit
        A fit of five or more such runs.
    done
        Called after each refit with the name of what was left out, the number of refits done, and that of all.
    **sampler
        Settings of the refits; see `bayes_cpt.fit`. By default fewer draws, and the seed of the fit.

    Returns
    -------
    Fit
        The same fit with other draws of the scales of components that are not in the likelihood and, if it improves
        forecasts of held-out runs, with draws of ``stretch`` (a factor of the width of forecasts, by domain). Attribute
        ``left_out`` has one row per left-out run and domain: the shares of its points that 50 and 90 % intervals cover
        with the priors (``cover50_before``, ``cover90_before``), and with what the other runs teach (``_after``).

    Raises
    ------
    DataError
        If fewer than five runs can be left out, the model has no such component, or no refit converged.

    References
    ----------
    Generalised posterior: Bissiri, Holmes & Walker, J. R. Stat. Soc. B 78, 2016. Recalibration: Kuleshov, Fenner &
    Ermon, *Accurate uncertainties for deep learning using calibrated regression*, ICML 2018, arXiv 1807.00263.

    Examples
    --------
    >>> fit = bc.learn_scales(bc.fit(curves))  # doctest: +SKIP
    >>> print(bc.in_words(fit))  # doctest: +SKIP
    """
    if lacking := why_not(fit):
        raise DataError(lacking)
    settings = replace(REFIT, seed=int(fit.tree.attrs["seed"])).changed(sampler)
    prepared, found = leave_out(fit, settings, done)
    if not found:
        raise DataError(
            "no scale was learnt: none of the fits without a run converged; give them more time (--seconds)"
        )
    return _with_scales(fit, prepared, found, np.random.default_rng([settings.seed, 4]))


def leave_out(
    fit: Fit, settings: SamplerSettings, done: Callable[[str, int, int], None]
) -> tuple[Prepared, list[LeftOut]]:
    """Leave runs out in turn, refit, and return the compiled model and how the runs left out differ from forecasts."""
    planned = folds(fit.curves, "run")
    planned = [planned[place] for place in np.unique(np.linspace(0, len(planned) - 1, MOST).round().astype(int))]
    prepared = prepare(fit.curves, fit.spec, domains=fit.every_domain, holdouts=planned)
    starts, found = full_posterior(prepared, settings), []
    for count, fold in enumerate(planned):
        refitted = fit_prepared(prepared, settings, fold, starts)
        if refitted.converged:
            parts = conditional(refitted, _thinned(unseen(prepared, fold))).values()
            found += [one for given in parts for one in residuals(given, fit.spec.fitted_components)]
        done(fold.name, count + 1, len(planned))
    return prepared, found


def _thinned(measured: Curves) -> Curves:
    """Keep at most ``MOST_POINTS`` losses of each run and domain, evenly spaced: a run counts as few anyway."""
    groups = [rows for _key, rows in measured.losses.groupby(["run", "domain"], sort=False)]
    chosen = [np.unique(np.linspace(0, len(rows) - 1, MOST_POINTS).round().astype(int)) for rows in groups]
    return measured.with_losses(pd.concat([rows.iloc[at] for rows, at in zip(groups, chosen, strict=True)]))


def why_not(fit: Fit) -> str:
    """Return why left-out runs can teach nothing about a fit; empty if they can."""
    if set(fit.spec.components) == set(fit.spec.fitted_components):
        return (
            f"model {fit.spec.name} has no effects of new runs, so that left-out runs teach nothing about their scales"
        )
    try:
        count = len(folds(fit.curves, "run"))
    except DataError:
        count = 0
    few = f"{count or 'no'} run{'' if count == 1 else 's'} can be left out, and {FEWEST} are needed to learn from them"
    return few if count < FEWEST else ""


def residuals(given: Conditional, fitted: Sequence[str]) -> list[LeftOut]:
    """Return, by run, how left-out losses differ from their forecast; ``fitted`` components need not be learnt."""
    points, components = given.points, np.array(given.components)
    residual = points["loss"].to_numpy() - given.mean.mean(axis=0)
    variance = given.mean.var(axis=0) + given.variance.mean(axis=0)
    unit = {}
    for name, scale in given.scales.items():
        squares = (given.columns[:, components == name] ** 2).sum(axis=1)
        if name in fitted:
            variance = variance + squares.mean(axis=0)
        else:
            unit[name] = (squares / scale[:, None] ** 2).mean(axis=0)
    groups: dict[tuple[str, str], list[int]] = {}
    for place, (run, domain, step) in enumerate(zip(points["run"], points["domain"], points["step"], strict=True)):
        if step > 0:
            groups.setdefault((str(run), str(domain)), []).append(place)
    return [
        LeftOut(run, domain, residual[at], variance[at], {name: of[at] for name, of in unit.items()})
        for (run, domain), at in groups.items()
    ]


def _with_scales(fit: Fit, prepared: Prepared, found: Sequence[LeftOut], random: np.random.Generator) -> Fit:
    by_domain = {domain: [one for one in found if one.domain == domain] for domain in fit.domains}
    drawn = {domain: drawn_scales(prepared, domain, random) for domain, runs in by_domain.items() if runs}
    plain = {domain: suited(scale, np.ones(CANDIDATES), by_domain[domain]) for domain, scale in drawn.items()}
    factor = np.exp(STRETCH_PRIOR * random.standard_normal(CANDIDATES))
    stretched = {domain: suited(scale, factor, by_domain[domain]) for domain, scale in drawn.items()}
    gain = sum(stretched[domain].held_out - plain[domain].held_out for domain in drawn)
    learnt = stretched if gain > 0 and len(found) >= STRETCHED_FROM else plain
    table = pd.concat([_coverage(by_domain[domain], learnt[domain]) for domain in learnt], ignore_index=True)
    return _replaced(fit, prepared, learnt, random, left_out=table.to_json(orient="records"))


def drawn_scales(prepared: Prepared, domain: str, random: np.random.Generator) -> dict[str, FloatArray]:
    """Return draws (candidates,) from the priors of a domain's scales that are not in the likelihood, by component."""
    values = of_domain(uninformed_draws(prepared.spec, prepared.observations, (CANDIDATES,), random), domain)
    return {name.removesuffix("_scale"): drawn for name, drawn in values.items()}


def suited(scale: Mapping[str, FloatArray], stretch: FloatArray, runs: Sequence[LeftOut]) -> Scales:
    """Return candidates of one domain, and how well each suits its left-out runs."""
    return Scales(scale, stretch, np.array([_log_suits(one, scale, stretch) for one in runs]))


def _log_suits(one: LeftOut, scale: Mapping[str, FloatArray], stretch: FloatArray) -> FloatArray:
    """Return how well each candidate suits a left-out run (candidates,): the mean over points of a log density."""
    found = np.zeros(len(stretch))
    for place, residual in enumerate(one.residual):
        width = np.sqrt(forecast_variance(one, scale, stretch, place))
        found += stats.t.logpdf(residual / width, FREEDOM) - np.log(width)
    return WEIGHT * found / len(one.residual)


def forecast_variance(one: LeftOut, scale: Mapping[str, FloatArray], stretch: FloatArray, place: int) -> FloatArray:
    """Return the variance (candidates,) of the forecast of a point."""
    of_effects = sum((scale[name] ** 2 * unit[place] for name, unit in one.unit.items()), np.zeros(len(stretch)))
    return stretch**2 * (one.variance[place] + of_effects)


def _coverage(runs: Sequence[LeftOut], learnt: Scales) -> pd.DataFrame:
    """Return the share of points of each left-out run that intervals cover, with priors and with what others teach."""
    rows = []
    prior = np.full(len(learnt.stretch), 1 / len(learnt.stretch))
    for place, one in enumerate(runs):
        row: dict[str, str | float] = {"run": one.run, "domain": one.domain}
        for when, scales, weights in (
            ("before", replace(learnt, stretch=np.ones_like(learnt.stretch)), prior),
            ("after", learnt, learnt.weights(without=place)),
        ):
            ranks = np.array([_rank(one, scales, weights, at) for at in range(len(one.residual))])
            row |= {f"cover{level}_{when}": float((np.abs(ranks - 0.5) <= level / 200).mean()) for level in (50, 90)}
        rows.append(row)
    return pd.DataFrame(rows)


def _rank(one: LeftOut, scales: Scales, weights: FloatArray, place: int) -> float:
    """Return the probability of a lower loss at a point than the measured one."""
    likely = np.flatnonzero(weights > weights.max() * NEGLIGIBLE)
    scale = {name: drawn[likely] for name, drawn in scales.scale.items()}
    width = np.sqrt(forecast_variance(one, scale, scales.stretch[likely], place))
    return float(weights[likely] @ stats.norm.cdf(one.residual[place] / width) / weights[likely].sum())


def _replaced(
    fit: Fit, prepared: Prepared, learnt: Mapping[str, Scales], random: np.random.Generator, **attributes: str
) -> Fit:
    """Return the fit with other draws of the scales, and of the effects on fitted runs, which depend on them."""
    posterior = fit.posterior.drop_vars(STRETCH, errors="ignore").copy(deep=True)
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    chosen = {
        domain: random.choice(CANDIDATES, np.prod(shape), p=scales.weights()) for domain, scales in learnt.items()
    }
    names = next(iter(learnt.values())).scale
    values = {f"{name}_scale": {domain: of.scale[name] for domain, of in learnt.items()} for name in names}
    if any((of.stretch != 1).any() for of in learnt.values()):
        values[STRETCH] = {domain: of.stretch for domain, of in learnt.items()}
        posterior[STRETCH] = xr.ones_like(posterior["noise_floor"])
    for name, by_domain in values.items():
        for domain, drawn in by_domain.items():
            posterior[name].loc[{"domain": domain}] = drawn[chosen[domain]].reshape(shape)
    tree = fit.tree.copy()
    tree["posterior"] = posterior.drop_vars([name for name in posterior if str(name).startswith("effect_")])
    redrawn = with_data(prepared, NOTHING, tree)
    redrawn.tree.attrs = {**fit.tree.attrs, **attributes}
    return redrawn


def what_left_out_runs_show(fit: Fit) -> str:
    """Return in a sentence what left-out runs taught a fit; empty if nothing."""
    table = fit.left_out
    if table.empty:
        return ""
    covers = table.groupby("domain", sort=False)[["cover90_before", "cover90_after"]].mean()
    parts = []
    for domain, row in covers.iterrows():
        before, after = (f"{100 * row[name]:.0f} %" for name in ("cover90_before", "cover90_after"))
        parts.append(f"{after} of the points on {domain} ({before} by the priors)")
    width = ""
    if STRETCH in fit.posterior:
        factors = fit.posterior[STRETCH].median(["chain", "draw"]).to_series()
        listed = " and ".join(f"{factor:.2f} times as wide on {domain}" for domain, factor in factors.items())
        width = f"; forecasts are recalibrated: {listed}"
    return (
        f"Learnt from {table['run'].nunique()} left-out runs how far new runs depart from the law; by what the others "
        f"teach, 90 % intervals cover {', '.join(parts)}{width}."
    )
