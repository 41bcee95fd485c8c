"""Simulation-based calibration: check a model and its sampler for parameters drawn from the prior.

Parameters are drawn from the prior, and losses are simulated from them. The rank of each true parameter among draws of
its posterior must then be uniform (Talts et al. 2018, arXiv 1804.06788). The log density of parameters and data is
ranked too. It detects faults that no single parameter shows, such as a posterior that equals the prior (Modrak et al.
2023, arXiv 2211.02383).

The draws are those of the sampler that fits use, `bayes_cpt.inference.tempering`: each simulation has a population of
walkers, which start from an approximation at its mode, and all populations are evaluated together. So the ranks test
the model and the sampler at once. The package simuk, which fits each simulation with ``pm.sample`` and compiles the
model each time, would take hours for what takes minutes here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.calibration.uniformity import band, holm, uniformity
from bayes_cpt.inference.approximation import CLOSE, INFLATION, Approximation
from bayes_cpt.inference.fit import Prepared
from bayes_cpt.inference.mode import CANDIDATES, approximate, starts_from
from bayes_cpt.inference.tempering import Kernel, Target, Walkers, moved, square_root, tempered, with_proposal
from bayes_cpt.posterior.density import Densities, Density, side_by_side
from bayes_cpt.posterior.priors import Entry, of_domain
from bayes_cpt.statistical_model.discrepancy import effect_labels
from bayes_cpt.statistical_model.likelihood import discrepancy, evaluate

LEVEL = 0.01
"""Probability that a correct model is called miscalibrated."""
LOG_DENSITY = "log density"

type Simulator = Callable[
    [Prepared, Mapping[Entry, FloatArray], np.random.Generator], Mapping[str, Mapping[str, FloatArray]]
]


@dataclass(frozen=True)
class Calibration:
    """Ranks of true parameters among the draws of their posteriors.

    Parameters
    ----------
    model
        Name of the model.
    ranks
        One row per simulation: ranks of each parameter (``name[domain]``) and of the log density, from 0 to ``draws``.
    draws
        Number of draws among which each true parameter is ranked.

    Examples
    --------
    >>> import bayes_cpt as bc, numpy as np, pandas as pd
    >>> random = np.random.default_rng(1)
    >>> ranks = pd.DataFrame({"memory[pt]": random.integers(0, 32, 200), "log density": random.integers(0, 10, 200)})
    >>> result = bc.Calibration("cpt", ranks, draws=31)
    >>> result.calibrated
    False
    """

    model: str
    ranks: pd.DataFrame
    draws: int

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """Tests of uniform ranks, one row per parameter.

        ``p`` is the p-value, ``corrected`` the p-value corrected for the number of parameters (Holm), and ``mean`` the
        mean rank as a share: above 0.5, the posterior is too low.
        """
        p_values = uniformity(self._counts, len(self.ranks))
        share = (self.ranks + 0.5) / (self.draws + 1)
        columns = {"p": p_values, "corrected": holm(p_values), "mean": share.mean()}
        return pd.DataFrame(columns, index=self.ranks.columns)

    @property
    def calibrated(self) -> bool:
        """Whether no parameter's ranks differ significantly from uniform."""
        return bool(self.uniformity["corrected"].min() >= LEVEL)

    @property
    def verdict(self) -> str:
        """Whether the model is calibrated, in words."""
        worst = self.uniformity["corrected"].idxmin()
        smallest = self.uniformity["corrected"].min()
        found = "no sign of miscalibration" if self.calibrated else "MISCALIBRATED"
        return f"{self.model}: {found} (smallest corrected p {smallest:.3g}, {worst})"

    @property
    def differences(self) -> pd.DataFrame:
        """Cumulative distribution of each parameter's ranks minus the uniform one, by rank as a share in (0, 1)."""
        shares = self._counts.T / len(self.ranks) - self._place[:, None]
        return pd.DataFrame(shares, index=self._place, columns=self.ranks.columns)

    @property
    def band(self) -> pd.DataFrame:
        """Simultaneous band of the differences, ``lower`` and ``upper``, by rank as a share in (0, 1).

        If all ranks are uniform, all differences are within the band with probability 1 - ``LEVEL``.
        """
        limits = band(len(self.ranks), self.draws, LEVEL / len(self.ranks.columns)) - self._place
        return pd.DataFrame(limits.T, index=self._place, columns=["lower", "upper"])

    @property
    def _place(self) -> FloatArray:
        return np.arange(1, self.draws + 1) / (self.draws + 1)

    @property
    def _counts(self) -> IntArray:
        """(parameters, draws) Numbers of ranks below 1, 2, ..., ``draws``."""
        return (self.ranks.to_numpy()[..., None] < np.arange(1, self.draws + 1)).sum(axis=0)


def calibrate(
    prepared: Prepared,
    *,
    simulations: int = 200,
    draws: int = 31,
    moves: int = 24,
    seed: int = 1,
    simulator: Simulator | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Calibration:
    """Check a model and its sampler by simulation-based calibration.

    Parameters are drawn from the prior, losses are simulated from them, and the parameters are ranked among draws of
    their posteriors. All simulations run together.

    Parameters
    ----------
    prepared
        A model compiled for runs, such as those of `bayes_cpt.pilot_runs`. Their measured losses only set the scales of
        the priors.
    simulations
        Number of simulations.
    draws
        Number of draws of each posterior: the walkers of its population.
    moves
        Number of moves of each walker at the posterior: trajectories, each with jumps after it.
    seed
        Seed of parameters, losses and sampler.
    simulator
        Function that simulates losses from parameters, by default `simulated_losses`; with another one, it can be seen
        whether a fault of the model would be detected.
    done
        Called after each move with the number of moves done and the number of all moves.

    Returns
    -------
    Calibration
        Ranks, and whether they are uniform.

    References
    ----------
    Talts et al. 2018, arXiv 1804.06788; Modrak et al. 2023, arXiv 2211.02383; Säilynoja et al. 2022, arXiv 2103.10522.

    Examples
    --------
    >>> print(bc.calibrate(bc.prepare(bc.pilot_runs(), "cpt-replay")).verdict)  # doctest: +SKIP
    cpt-replay: no sign of miscalibration (smallest corrected p 0.4, beta[cpt])
    """
    random = np.random.default_rng(seed)
    drawn = {density: density.prior_draws(simulations, random) for density in prepared.densities}
    truths = {entry: of for density, x in drawn.items() for entry, of in density.parameters(x).items()}
    losses = (simulator or simulated_losses)(prepared, truths, random)
    ranks, log_density = [], []
    for density, x in drawn.items():
        densities = side_by_side(density, losses)
        target, walkers, kernel = _at_posteriors(density, densities, (simulations, draws), random)
        for place in range(moves):
            walkers = moved(target, walkers, kernel, random)
            done(place + 1, moves)
        ranks.append(_ranks(np.concatenate([x[:, None], walkers.x], axis=1)))
        log_density.append(np.concatenate([densities.values(x[:, None]), walkers.value], axis=1))
    ranks.append(_ranks(np.sum(log_density, axis=0)[..., None]))
    labels = [*(entry.label for entry in truths), LOG_DENSITY]
    index = pd.RangeIndex(simulations, name="simulation")
    return Calibration(prepared.spec.name, pd.DataFrame(np.concatenate(ranks, axis=1), index, labels), draws)


def _at_posteriors(
    density: Density, densities: Densities, shape: tuple[int, int], random: np.random.Generator
) -> tuple[Target, Walkers, Kernel]:
    """Return walkers (simulations, draws) at the posteriors of a block's parameters, and how they move."""
    target = Target(densities, _approximations(density, densities, shape[0], random))
    at_mode = target.approximation.scale[:, 0] / INFLATION

    def whiten(x: FloatArray) -> FloatArray:
        return _mean_and_scale(x, at_mode)[1]

    walkers, kernel, states = tempered(target, shape, random, whiten)
    centre, scale = _mean_and_scale(np.concatenate(states, axis=1), at_mode)
    around = Approximation(centre, scale[:, None], np.zeros((shape[0], 1)), CLOSE)
    return target, walkers, with_proposal(target, walkers, kernel, random, around)


def _mean_and_scale(x: FloatArray, at_mode: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return means (members, 1, size) of vectors (members, n, size), and scales in which they are white.

    Few vectors show their covariance badly: that of the mode counts as much as one vector per coordinate.
    """
    count, size = x.shape[1:]
    centre = x.mean(axis=1, keepdims=True)
    away = x - centre
    covariance = np.swapaxes(away, 1, 2) @ away + size * at_mode @ np.swapaxes(at_mode, 1, 2)
    return centre, square_root(covariance / (count + size))


def _approximations(density: Density, densities: Densities, members: int, random: np.random.Generator) -> Approximation:
    """Return an approximation at the modes of each posterior, sought from draws of the prior as those of a fit are."""
    drawn = density.prior_draws(CANDIDATES, random)
    return approximate(densities, starts_from(densities, np.broadcast_to(drawn, (members, *drawn.shape))))


def _ranks(states: FloatArray) -> IntArray:
    """Return the rank of the first state of (members, states, quantities) among the others."""
    return (states[:, 1:] < states[:, :1]).sum(axis=1)


def simulated_losses(
    prepared: Prepared, parameters: Mapping[Entry, FloatArray], random: np.random.Generator
) -> dict[str, dict[str, FloatArray]]:
    """Draw the losses in bins by domain: law + discrepancy + noise, and their scatter within the bins.

    Parameters
    ----------
    prepared
        The model; only the components of the discrepancy in its likelihood are drawn.
    parameters
        Draws (draws,) by entry.
    random
        Random generator.

    Returns
    -------
    dict
        By domain, ``loss`` and ``scatter``, (draws, points) each.
    """
    losses = {}
    for domain, model in prepared.models.items():
        own, bins = of_domain(parameters, domain), prepared.bins[domain]
        evaluation = evaluate(model, bins.design, own)
        shape = evaluation.law.shape
        effects = {
            name: own[f"{name}_scale"][:, None]
            * random.standard_normal((shape[0], len(effect_labels(name, bins.design))))
            for name in prepared.spec.fitted_components
        }
        noise = np.sqrt(evaluation.noise_variance / np.maximum(bins.count, 1)) * random.standard_normal(shape)
        scatter = evaluation.noise_variance * random.chisquare(np.maximum(bins.freedom, 1e-9), shape)
        losses[domain] = {
            "loss": evaluation.law + discrepancy(evaluation, effects) + noise,
            "scatter": np.where(bins.freedom > 0, scatter, 0.0),
        }
    return losses
