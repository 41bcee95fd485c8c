"""A compiled model that can be sent to another process, which compiles it again, once."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from threading import RLock
from typing import NamedTuple

from bayes_cpt.errors import ClusterError, SpecError
from bayes_cpt.inference.approximation import Approximation
from bayes_cpt.inference.fit import Fit, Prepared, fit_prepared, full_posterior, prepare
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.inference.storage import same_definition
from bayes_cpt.runs.curve_folder import digest
from bayes_cpt.runs.curves import Curves
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.statistical_model.model_files import ModelSpec, parse_spec

MOST = 32
"""Largest number of received models that a process keeps."""


class Recipe(NamedTuple):
    """What a model is compiled from, as plain data: laws are functions, which are sent by name.

    Parameters
    ----------
    curves, domains, holdouts
        What the model describes, and what fits leave out; ``data`` is the digest of the curves.
    name, text, fingerprint
        The model file, and the fingerprint of its law.
    version
        Version of bayes_cpt.
    """

    curves: Curves
    data: str
    name: str
    text: str
    fingerprint: tuple[float, ...]
    domains: tuple[str, ...] | None
    holdouts: tuple[Holdout, ...]
    version: str


class SendableModel:
    """A compiled model; if it is pickled, what it is compiled from is sent in its stead.

    Parameters
    ----------
    prepared
        The compiled model; None to compile it from the recipe on first use.
    recipe
        What it is compiled from.
    """

    def __init__(self, prepared: Prepared | None, recipe: Recipe) -> None:
        self._prepared = prepared
        self._recipe = recipe
        self._wholes: dict[SamplerSettings, Fit] = {}
        self._starts: dict[SamplerSettings, list[Approximation]] = {}
        self._lock = RLock()  # jobs may share a model in threads

    @property
    def prepared(self) -> Prepared:
        """The compiled model."""
        with self._lock:
            if self._prepared is None:
                self._prepared = _compiled(self._recipe)
            return self._prepared

    def whole(self, settings: SamplerSettings) -> Fit:
        """Return the fit to all curves; each process samples it once, as fast as it could wait for one."""
        with self._lock:
            if settings not in self._wholes:
                self._wholes[settings] = fit_prepared(self.prepared, settings)
            return self._wholes[settings]

    def starts(self, settings: SamplerSettings) -> list[Approximation]:
        """Return approximations of the posterior of all curves, from which fits to parts start; see `whole`."""
        with self._lock:
            if settings not in self._starts:
                self._starts[settings] = full_posterior(self.prepared, settings)
            return self._starts[settings]

    def __reduce__(self) -> tuple[object, tuple[Recipe]]:
        return _received, (self._recipe,)


def sendable(
    prepared: Prepared, curves: Curves, domains: Sequence[str] | None, holdouts: Sequence[Holdout]
) -> SendableModel:
    """Return a model with what it was compiled from.

    Parameters
    ----------
    prepared
        What `bayes_cpt.prepare` returned.
    curves, domains, holdouts
        What it was given.
    """
    spec = prepared.spec
    recipe = Recipe(
        curves=replace(curves),  # without cached values
        data=digest(curves),
        name=spec.name,
        text=spec.text,
        fingerprint=tuple(spec.law.fingerprint()),
        domains=None if domains is None else tuple(domains),
        holdouts=tuple(holdouts),
        version=version("bayes-cpt"),
    )
    return SendableModel(prepared, recipe)


_RECEIVED: dict[str, SendableModel] = {}
"""Models that this process received."""


def _received(recipe: Recipe) -> SendableModel:
    """Return the model of a recipe: the same object each time, so that it is compiled once."""
    key = repr(recipe[1:])  # the digest stands for the curves; as text, a NaN equals itself
    if key not in _RECEIVED and len(_RECEIVED) >= MOST:
        _RECEIVED.pop(next(iter(_RECEIVED)), None)
    return _RECEIVED.setdefault(key, SendableModel(None, recipe))


def _compiled(recipe: Recipe) -> Prepared:
    """Compile a model that was received.

    Raises
    ------
    ClusterError
        If this process has another version of bayes_cpt, or does not know the law or has another of its name.
    """
    if (own := version("bayes-cpt")) != recipe.version:
        raise ClusterError(f"a worker has bayes_cpt {own}, and this process {recipe.version}: install the same version")
    return prepare(recipe.curves, _spec(recipe), domains=recipe.domains, holdouts=recipe.holdouts)


def _spec(recipe: Recipe) -> ModelSpec:
    register = "register laws and components of your own on the workers too, by `dask worker --preload FILE.py`"
    try:
        spec = parse_spec(recipe.name, recipe.text)
    except SpecError as error:
        raise ClusterError(f"a worker cannot read model {recipe.name!r}: {register} ({error})") from error
    if not same_definition(spec.law, recipe.fingerprint):
        raise ClusterError(f"a worker has another definition of law {spec.law.name!r}: {register}")
    return spec
