"""Simulation-based calibration: whether a model's posteriors are right, whatever truth its prior holds.

Parameters are drawn from the prior, losses are simulated from them, and the rank of each true parameter among draws of
its posterior must be uniform (Talts et al. 2018, arXiv 1804.06788). The log density of parameters and data is ranked
too: it sees faults, such as a posterior that is the prior, that no single parameter shows (Modrak et al. 2023, arXiv
2211.02383).

The draws are those of a chain through the truth, run backwards and forwards from it (Gandy & Scott 2020, arXiv
2001.06465): then ranks are uniform however short the chain, so that what is tested is the model, and a thousand short
chains can run side by side. Whether a long chain has converged is asked of each fit by itself. simuk, which would fit
each simulation by ``pm.sample`` on a model compiled anew, takes hours for what takes a minute here.
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
"""Chance at which a sound model is called miscalibrated."""
STARTS = 40
"""Draws from the prior of which the best is where a climb to the mode starts."""
STUCK = 0.05
"""A chain that accepts less than this tells next to nothing."""
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
        By simulation: of each parameter (``name[domain]``) and of the log density, from 0 to ``draws``.
    accepted
        By simulation: share of the chain's moves that were accepted.
    draws
        That each truth was ranked among.
    """

    model: str
    ranks: pd.DataFrame
    accepted: pd.Series
    draws: int

    @cached_property
    def uniformity(self) -> pd.DataFrame:
        """How uniform each parameter's ranks are.

        ``p`` of their being uniform, ``corrected`` for the number of parameters (Holm), and ``mean``, the mean rank as
        a share: above a half, the posterior lies too low.
        """
        p = uniformity(self._counts, len(self.ranks))
        share = (self.ranks + 0.5) / (self.draws + 1)
        return pd.DataFrame({"p": p, "corrected": holm(p), "mean": share.mean()}, index=self.ranks.columns)

    @property
    def calibrated(self) -> bool:
        """Whether all ranks may be uniform."""
        return bool(self.uniformity["corrected"].min() >= LEVEL)

    @property
    def stuck(self) -> int:
        """How many chains hardly moved: their ranks are uniform whatever the model."""
        return int((self.accepted < STUCK).sum())

    @property
    def verdict(self) -> str:
        """What the ranks say, in words."""
        worst = self.uniformity["corrected"].idxmin()
        smallest = self.uniformity["corrected"].min()
        said = "no sign of miscalibration" if self.calibrated else "MISCALIBRATED"
        notes = f"; {self.stuck} of {len(self.ranks)} chains hardly moved" if self.stuck else ""
        return f"{self.model}: {said} (smallest corrected p {smallest:.3g}, {worst}){notes}"

    @property
    def differences(self) -> pd.DataFrame:
        """By place in (0, 1): each parameter's cumulative distribution of ranks less the uniform one."""
        shares = self._counts.T / len(self.ranks) - self._place[:, None]
        return pd.DataFrame(shares, index=self._place, columns=self.ranks.columns)

    @property
    def band(self) -> pd.DataFrame:
        """Limits of the differences by place in (0, 1): ``lower`` and ``upper``.

        All of them stay between these together with probability 1 - ``LEVEL`` if all ranks are uniform.
        """
        limits = band(len(self.ranks), self.draws, LEVEL / len(self.ranks.columns)) - self._place
        return pd.DataFrame(limits.T, index=self._place, columns=["lower", "upper"])

    @property
    def _place(self) -> FloatArray:
        return np.arange(1, self.draws + 1) / (self.draws + 1)

    @property
    def _counts(self) -> IntArray:
        """(parameters, draws) How many ranks lie below 1, 2, ..., ``draws``."""
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
    """Draw truths from the prior, simulate losses of a design of runs, and rank the truths in their posteriors.

    All simulations run side by side.

    Parameters
    ----------
    prepared
        A model compiled for runs, such as `bayes_cpt.pilot_runs`; their measured losses give the priors their units, no
        more.
    simulations
        How many.
    draws
        Of each posterior, that a truth is ranked among.
    every
        Trajectories of the sampler between two draws.
    seed
        Of truths, losses and sampler.
    simulator
        What makes losses of parameters, as `simulated_losses`, which it is by default; another one shows what a fault
        of the model would do.
    done
        Called after each draw with how many there are, and are to be.
    """
    random = np.random.default_rng(seed)
    truths = prior_draws(prepared, simulations, seed)
    losses = (simulator or simulated_losses)(prepared, truths.parameters, random)
    densities = side_by_side(prepared.density, {f"observed_{domain}": values for domain, values in losses.items()})
    # found from the data alone: chains that knew the truth would not be reversible
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
    """Return, for each member, the likeliest of some draws from the prior."""
    start = np.tile(prepared.density.start, (members, 1))
    found = start, densities(start)[0]
    for draw in prior_draws(prepared, STARTS, seed).unconstrained:
        found = higher(densities, found, np.tile(draw, (members, 1)))
    return found[0]


def _ranks(states: FloatArray, random: np.random.Generator) -> IntArray:
    """Rank the first of states (members, states, quantities) among the others.

    A chain that is stuck returns to equal states: these are ranked by chance.
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
        (draws, size) The same as the flat vectors that the density takes.
    labels
        Of the vector's entries: ``name[domain]``, or ``name`` where it is common to the domains.
    """

    parameters: dict[str, FloatArray]
    unconstrained: FloatArray
    labels: list[str]


def prior_draws(prepared: Prepared, count: int, seed: int) -> Truths:
    """Draw parameters from the prior of a model."""
    model, order = prepared.pymc_model, list(prepared.density.places)
    free = sorted(model.free_RVs, key=lambda variable: order.index(model.rvs_to_values[variable].name))
    # entries of the vector grow with the parameters, so ranks among the one are ranks among the other
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
        The model: only parts of the discrepancy that its likelihood has are drawn.
    parameters
        By name, (draws,) or (draws, domains).
    random
        Source of randomness.
    """
    spec, static = prepared.spec, prepared.observations.design
    losses = {}
    for index, (domain, model) in enumerate(domain_models(spec, prepared.observations).items()):
        own = {name: values if values.ndim == 1 else values[:, index] for name, values in parameters.items()}
        evaluation = evaluate(model, static, own)
        shape = evaluation.law.shape
        effects = {
            name: own[f"{name}_scale"][:, None] * random.standard_normal((shape[0], len(effect_labels(name, static))))
            for name in spec.fitted_components
        }
        noise = np.sqrt(evaluation.noise_variance) * random.standard_normal(shape)
        losses[domain] = evaluation.law + discrepancy(evaluation, effects) + noise
    return losses
