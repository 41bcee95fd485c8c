"""Simulation-based calibration: check the posteriors of a model for parameters drawn from its prior.

Parameters are drawn from the prior, and losses are simulated from them. The rank of each true parameter among draws of
its posterior must then be uniform (Talts et al. 2018, arXiv 1804.06788). The log density of parameters and data is
ranked too. It detects faults that no single parameter shows, such as a posterior that equals the prior (Modrak et al.
2023, arXiv 2211.02383).

The draws are those of a chain through the true parameters, run backwards and forwards from them (Gandy & Scott 2020,
arXiv 2001.06465). Ranks are then uniform for chains of any length, so the test is of the model alone, and a thousand
short chains can run in parallel. The convergence of long chains is diagnosed in each fit. The package simuk, which fits
each simulation with ``pm.sample`` and compiles the model each time, would take hours for what takes a minute here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import pymc as pm

from bayes_cpt._support.typing import FloatArray, IntArray
from bayes_cpt.calibration.batched_hmc import chains_through
from bayes_cpt.calibration.uniformity import band, holm, uniformity
from bayes_cpt.inference.density import Densities, side_by_side
from bayes_cpt.inference.fit import Prepared
from bayes_cpt.inference.mode import climb, higher
from bayes_cpt.statistical_model.discrepancy import effect_labels
from bayes_cpt.statistical_model.likelihood import discrepancy, evaluate
from bayes_cpt.statistical_model.pymc_model import domain_models

LEVEL = 0.01
"""Probability that a correct model is called miscalibrated."""
STARTS = 40
"""Number of draws from the prior, the most probable of which starts the climb to the mode."""
STUCK = 0.05
"""Acceptance probability below which a chain counts as stuck: its ranks are not informative."""
LOG_DENSITY = "log density"

type Simulator = Callable[[Prepared, Mapping[str, FloatArray], np.random.Generator], Mapping[str, FloatArray]]


@dataclass(frozen=True)
class Calibration:
    """Ranks of true parameters among the draws of their posteriors.

    Parameters
    ----------
    model
        Name of the model.
    ranks
        One row per simulation: ranks of each parameter (``name[domain]``) and of the log density, from 0 to ``draws``.
    accepted
        Per simulation, the mean acceptance probability of the chain.
    draws
        Number of draws among which each true parameter is ranked.

    Examples
    --------
    >>> import bayes_cpt as bc, numpy as np, pandas as pd
    >>> random = np.random.default_rng(1)
    >>> ranks = pd.DataFrame({"memory[pt]": random.integers(0, 32, 200), "log density": random.integers(0, 10, 200)})
    >>> result = bc.Calibration("cpt", ranks, pd.Series(0.8, ranks.index), draws=31)
    >>> result.calibrated
    False
    """

    model: str
    ranks: pd.DataFrame
    accepted: pd.Series
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
    def stuck(self) -> int:
        """Number of chains that hardly moved: their ranks are uniform for any model."""
        return int((self.accepted < STUCK).sum())

    @property
    def verdict(self) -> str:
        """Whether the model is calibrated, in words."""
        worst = self.uniformity["corrected"].idxmin()
        smallest = self.uniformity["corrected"].min()
        found = "no sign of miscalibration" if self.calibrated else "MISCALIBRATED"
        notes = (
            f"; {self.stuck} of {len(self.ranks)} chains hardly moved; their ranks are not informative"
            if self.stuck
            else ""
        )
        return f"{self.model}: {found} (smallest corrected p {smallest:.3g}, {worst}){notes}"

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
    every: int = 4,
    seed: int = 1,
    simulator: Simulator | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Calibration:
    """Check a model by simulation-based calibration.

    Parameters are drawn from the prior, losses are simulated from them, and the parameters are ranked among draws of
    their posteriors. All simulations run in parallel.

    Parameters
    ----------
    prepared
        A model compiled for runs, such as those of `bayes_cpt.pilot_runs`. Their measured losses only set the scales of
        the priors.
    simulations
        Number of simulations.
    draws
        Number of draws of each posterior.
    every
        Number of trajectories of the sampler between two draws.
    seed
        Seed of parameters, losses and sampler.
    simulator
        Function that simulates losses from parameters, by default `simulated_losses`; with another one, it can be seen
        whether a fault of the model would be detected.
    done
        Called after each draw with the number of draws done and the number of all draws.

    Returns
    -------
    Calibration
        Ranks, and whether they are uniform.

    References
    ----------
    Talts et al. 2018, arXiv 1804.06788; Modrak et al. 2023, arXiv 2211.02383; Gandy & Scott 2020, arXiv 2001.06465;
    Säilynoja et al. 2022, arXiv 2103.10522.

    Examples
    --------
    >>> print(bc.calibrate(bc.prepare(bc.pilot_runs(), "cpt-replay")).verdict)  # doctest: +SKIP
    cpt-replay: no sign of miscalibration (smallest corrected p 0.4, beta[cpt])
    """
    random = np.random.default_rng(seed)
    truths = prior_draws(prepared, simulations, seed)
    losses = (simulator or simulated_losses)(prepared, truths.parameters, random)
    densities = side_by_side(prepared.density, {f"observed_{domain}": values for domain, values in losses.items()})
    # computed without the true parameters: else the chains would not be reversible
    _values, whitening = climb(densities, _starts(prepared, densities, simulations, seed + 1))
    chains = chains_through(
        densities, whitening, truths.unconstrained, draws=draws, every=every, random=random, done=done
    )
    ranks = _ranks(np.concatenate([chains.states, chains.log_density[..., None]], axis=-1), random)
    index = pd.RangeIndex(simulations, name="simulation")
    return Calibration(
        model=prepared.spec.name,
        ranks=pd.DataFrame(ranks, index, [*truths.labels, LOG_DENSITY]),
        accepted=pd.Series(chains.accepted, index, name="accepted"),
        draws=draws,
    )


def _starts(prepared: Prepared, densities: Densities, members: int, seed: int) -> FloatArray:
    """Return, per member, the most probable of some draws from the prior."""
    start = np.tile(prepared.density.start, (members, 1))
    found = start, densities(start)[0]
    for draw in prior_draws(prepared, STARTS, seed).unconstrained:
        found = higher(densities, found, np.tile(draw, (members, 1)))
    return found[0]


def _ranks(states: FloatArray, random: np.random.Generator) -> IntArray:
    """Return the rank of the first state of (members, states, quantities) among the others.

    Equal states, which occur in a chain that is stuck, are ranked at random.
    """
    truths, drawn = states[:, :1], states[:, 1:]
    equal = (drawn == truths).all(axis=2).sum(axis=1)
    return (drawn < truths).sum(axis=1) + random.integers(equal + 1)[:, None]


class Truths(NamedTuple):
    """Draws from the prior.

    Parameters
    ----------
    parameters
        By name, (draws,) or (draws, domains).
    unconstrained
        (draws, size) The same as flat vectors, the arguments of the density.
    labels
        (size,) Labels of the vector's entries: ``name[domain]``, or ``name`` if common to the domains.
    """

    parameters: dict[str, FloatArray]
    unconstrained: FloatArray
    labels: list[str]


def prior_draws(prepared: Prepared, count: int, seed: int) -> Truths:
    """Draw parameters from the prior of a model."""
    model, order = prepared.pymc_model, list(prepared.density.places)
    free = sorted(model.free_RVs, key=lambda variable: order.index(model.rvs_to_values[variable].name))
    # transforms are increasing, so ranks of the vector's entries are ranks of the parameters
    transforms = [model.rvs_to_transforms[variable] for variable in free]
    moved = [
        variable if transform is None else transform.forward(variable, *variable.owner.inputs)
        for variable, transform in zip(free, transforms, strict=True)
    ]
    values = pm.draw([*free, *moved], draws=count, random_seed=seed, mode="FAST_COMPILE")
    names = [str(variable.name) for variable in free]
    labels = [
        label
        for name, variable in zip(names, free, strict=True)
        for label in ([f"{name}[{domain}]" for domain in prepared.observations.domains] if variable.ndim else [name])
    ]
    flat = np.column_stack(list(values[len(free) :]))
    return Truths(dict(zip(names, values[: len(free)], strict=True)), flat, labels)


def simulated_losses(
    prepared: Prepared, parameters: Mapping[str, FloatArray], random: np.random.Generator
) -> dict[str, FloatArray]:
    """Draw losses at all points of a design, by domain (draws, points): law + discrepancy + noise.

    Parameters
    ----------
    prepared
        The model; only the components of the discrepancy in its likelihood are drawn.
    parameters
        By name, (draws,) or (draws, domains).
    random
        Random generator.
    """
    spec, design = prepared.spec, prepared.observations.design
    losses = {}
    for index, (domain, model) in enumerate(domain_models(spec, prepared.observations).items()):
        own = {name: values if values.ndim == 1 else values[:, index] for name, values in parameters.items()}
        evaluation = evaluate(model, design, own)
        shape = evaluation.law.shape
        effects = {
            name: own[f"{name}_scale"][:, None] * random.standard_normal((shape[0], len(effect_labels(name, design))))
            for name in spec.fitted_components
        }
        noise = np.sqrt(evaluation.noise_variance) * random.standard_normal(shape)
        losses[domain] = evaluation.law + discrepancy(evaluation, effects) + noise
    return losses
