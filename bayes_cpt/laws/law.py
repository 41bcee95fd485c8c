"""Laws: the terms of the loss, each a small pure function, and how they are combined.

A term's formula takes its inputs by the names of its arguments: features (`bayes_cpt.laws.features.FEATURES`) and
coefficients. The same code runs on NumPy arrays, PyTensor variables and xarray objects, if it is written with operators
and NumPy ufuncs alone (``np.exp``, ``np.log``, ``np.log1p``, ``np.expm1``, ``np.sqrt``).

The data hardly identify the coefficients in the equations of papers (Wang et al. 2025: B = 29.1 with beta = .001 fits
as well as B = .28 with beta = .36). They identify a loss, a drop or a change at a given amount of training. Such
quantities are therefore sampled, and a term may have a function that converts them to its coefficients.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache, cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from bayes_cpt._support.typing import Array
from bayes_cpt.errors import SpecError
from bayes_cpt.laws.features import FEATURES, FittedRange
from bayes_cpt.laws.memory_kernels import EXPONENTIAL, MemoryKernel, kernel_probe


class Terms(NamedTuple):
    """The parts of a loss, in nats: their sum is the law's prediction."""

    base: Array
    annealing: Array
    shift: Array

    @property
    def loss(self) -> Array:
        """The loss that the law predicts."""
        return self.base + self.annealing + self.shift


class Domain(NamedTuple):
    """The fixed properties of a domain.

    Parameters
    ----------
    shift_sign
        +1 where continual pre-training (CPT) raises the loss (forgetting), -1 where it lowers it (gain): the sign of B
        in Eq. 4.
    own_share
        The share of the domain's own data, from the replay ratio.
    """

    shift_sign: int
    own_share: Callable[[Array], Array]


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {"pt": Domain(1, lambda replay_ratio: replay_ratio), "cpt": Domain(-1, lambda replay_ratio: 1 - replay_ratio)}
)
"""The domains that laws describe, by name."""
RANGE = (*(field.name for field in fields(FittedRange)), "shift_sign")
"""Arguments of a conversion that are not sampled."""
OF_THE_LEARNING_RATE = frozenset({"progress_pt", "progress_cpt", "forward_area_pt", "forward_area_cpt"})
"""Features that laws of whole curves read, and laws of final losses do not."""


@dataclass(frozen=True)
class Term:
    """One term of a loss.

    Parameters
    ----------
    formula
        From features and coefficients, by name, to the term in nats, (..., points).
    coefficients
        From sampled parameters and the range of the fitted data (`bayes_cpt.laws.features.FittedRange`, and
        ``shift_sign``), by name, to those coefficients that are not sampled themselves, as a dictionary. An argument of
        the formula that is neither a feature nor among these is a sampled parameter.

    Examples
    --------
    >>> import numpy as np
    >>> import bayes_cpt as bc
    >>> def saturating(forward_area_cpt, B, E):
    ...     return -B * np.expm1(-E * forward_area_cpt)
    >>> float(bc.Term(saturating).formula(forward_area_cpt=0.5, B=0.4, E=2.0).round(3))
    0.253
    """

    formula: Callable[..., Array]
    coefficients: Callable[..., Mapping[str, Array]] | None = None

    @cached_property
    def converted(self) -> frozenset[str]:
        """Names of the coefficients that are not sampled themselves."""
        return frozenset() if self.coefficients is None else _keys(self.coefficients)


@dataclass(frozen=True)
class History:
    """What replaces the pre-training of a checkpoint, if it is not known.

    Parameters
    ----------
    features
        From features and sampled parameters, by name, to the features and coefficients that depend on the pre-training,
        as a dictionary.
    parameters
        From sampled parameters to the arguments of conversions that only a known pre-training identifies.
    shared
        Names of the sampled parameters of the checkpoint, common to all domains.
    """

    features: Callable[..., Mapping[str, Array]]
    parameters: Callable[..., Mapping[str, Array]]
    shared: tuple[str, ...]


@dataclass(frozen=True)
class Law:
    """A law: the terms of the loss, and how drops of the learning rate (LR) take effect.

    Parameters
    ----------
    name
        Key in ``bayes_cpt.LAWS``.
    equation
        Its equation, as text.
    base
        The loss of training without annealing or shift, nats.
    annealing
        The change of the loss by annealing; None if the law has no such term.
    shift
        By domain, the change by the new data of continual pre-training (CPT); empty for a law of pre-training.
    memory_kernel
        How drops of the LR take effect.
    history
        What replaces the pre-training; None if the law reads it from the data.

    Raises
    ------
    SpecError
        If a formula or a conversion has arguments without a name (``**kwargs``), or a domain is unknown.

    References
    ----------
    Tissue et al. 2024, arXiv 2408.11029, Eq. 1; Wang et al., ICML 2025, arXiv 2505.07796, Eq. 2 to 10.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> law = bc.LAWS["annealing-eq1"]
    >>> law.equation, law.features
    ('L0 + A S1^-alpha - C S2', ('progress_pt', 'annealing_area_pt'))
    >>> features = {"progress_pt": 4.0, "annealing_area_pt": 1.0}
    >>> law.predict("pt", features, {"L0": 3.0, "A": 0.5, "alpha": 0.5, "C": 0.1}).loss
    3.15
    """

    name: str
    equation: str
    base: Term
    annealing: Term | None = None
    shift: Mapping[str, Term] = MappingProxyType({})
    memory_kernel: MemoryKernel = EXPONENTIAL
    history: History | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shift) - set(DOMAINS))
        if unknown:
            raise SpecError(f"law {self.name!r} has a shift on {unknown[0]!r}: the domains are {', '.join(DOMAINS)}")
        for function in self._functions:
            for argument in inspect.signature(function).parameters.values():
                if argument.kind in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL, argument.POSITIONAL_ONLY):
                    raise SpecError(
                        f"law {self.name!r}: {argument.name!r} of {function.__name__} names no feature and no "
                        "parameter: name each one as an argument"
                    )

    # Its inputs

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains that it describes."""
        return tuple(self.shift) or tuple(DOMAINS)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it reads from the data."""
        read = _in_order(name for function in self._formulas for name in _arguments(function) if name in FEATURES)
        if "own_share" in read:
            read = _in_order([*(name for name in read if name != "own_share"), "replay_ratio"])
        if self.history is None:
            return read
        needed = [name for name in _arguments(self.history.features) if name in FEATURES]
        return _in_order([*(name for name in read if name not in self._of_history), *needed])

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """Names of the sampled parameters that determine its coefficients; each domain has its own."""
        return tuple(name for name in self._sampled if name not in self.checkpoint_parameters)

    @property
    def checkpoint_parameters(self) -> tuple[str, ...]:
        """Names of the sampled parameters of the checkpoint, common to all domains."""
        return () if self.history is None else self.history.shared

    @property
    def sampled(self) -> tuple[str, ...]:
        """Names of all its sampled parameters, with those of the memory kernel."""
        return _in_order([*self.parameters, *self.memory_kernel.parameters, *self.checkpoint_parameters])

    # The data that it describes

    @property
    def has_shift(self) -> bool:
        """Whether it describes continual pre-training."""
        return bool(self.shift)

    @property
    def has_replay(self) -> bool:
        """Whether it describes several replay ratios."""
        return "replay_ratio" in self.features

    @property
    def has_size(self) -> bool:
        """Whether it describes several model sizes."""
        return "model_size" in self.features

    @property
    def is_final(self) -> bool:
        """Whether it describes the losses of finished runs rather than whole curves."""
        return not OF_THE_LEARNING_RATE & set(self.features)

    @property
    def has_length(self) -> bool:
        """Whether it describes CPT runs of several lengths."""
        return not self.is_final or "length_cpt" in self.features

    @property
    def knows_checkpoint(self) -> bool:
        """Whether it reads the pre-training from the data."""
        return self.history is None

    # Its predictions

    def coefficients(self, fitted_range: FittedRange, domain: str, **parameters: Array) -> dict[str, Array]:
        """Return its coefficients on a domain.

        Parameters
        ----------
        fitted_range
            Where the sampled parameters are read.
        domain
            ``pt`` or ``cpt``.
        **parameters
            The sampled parameters, those of ``parameters`` and ``checkpoint_parameters``.

        Returns
        -------
        dict
            By name, each of the shape of the parameters.

        Raises
        ------
        TypeError
            If a parameter is missing, or unknown.
        """
        expected = {*self.parameters, *self.checkpoint_parameters}
        if set(parameters) != expected:
            strange = ", ".join(sorted(expected ^ set(parameters)))
            raise TypeError(f"law {self.name!r} samples {', '.join(self._sampled)}; missing or unknown: {strange}")
        given = {**fitted_range.to_dict(), "shift_sign": DOMAINS[domain].shift_sign, **parameters}
        if self.history is not None:
            given |= _call(self.history.parameters, given)
        found: dict[str, Array] = {}
        for term in self._terms(domain):
            converted = {} if term.coefficients is None else _call(term.coefficients, given)
            found |= {name: given[name] for name in _arguments(term.formula) if name in given} | dict(converted)
        if self.history is not None:
            found = {name: value for name, value in found.items() if name not in self._of_history}
            found |= {name: given[name] for name in _arguments(self.history.features) if name not in FEATURES}
        return found

    def predict(self, domain: str, features: Mapping[str, Array], coefficients: Mapping[str, Array]) -> Terms:
        """Return the terms on a domain.

        Parameters
        ----------
        domain
            ``pt`` or ``cpt``.
        features
            By name, at least those that the law reads.
        coefficients
            By name, its own coefficients and no others.

        Raises
        ------
        TypeError
            If a coefficient or feature is missing, or a coefficient is unknown.
        """
        functions = [term.formula for term in self._terms(domain)]
        functions += [] if self.history is None else [self.history.features]
        unknown = set(coefficients) - {name for function in functions for name in _arguments(function)}
        if unknown:
            raise TypeError(f"law {self.name!r} has no coefficient {', '.join(sorted(unknown))}")
        missing = [name for name in self.features if name not in features]
        if missing:
            raise TypeError(f"law {self.name!r} reads {', '.join(self.features)}; missing: {', '.join(missing)}")
        given = {name: features[name] for name in self.features} | dict(coefficients)
        if "replay_ratio" in given:
            given["own_share"] = DOMAINS[domain].own_share(given["replay_ratio"])
        if self.history is not None:
            given |= _call(self.history.features, given)
        base = _call(self.base.formula, given)
        annealing = None if self.annealing is None else _call(self.annealing.formula, given)
        shift = _call(self.shift[domain].formula, given) if self.shift else None
        nothing = 0.0 * sum(part for part in (base, annealing, shift) if part is not None)
        return Terms(base, nothing if annealing is None else annealing, nothing if shift is None else shift)

    def fingerprint(self) -> list[float]:
        """Return numbers that change with the definition of the law.

        They are its coefficients, terms and memory kernel at fixed inputs. Two laws with equal fingerprints (up to
        about 1e-9, as machines differ) have the same definition.
        """
        names = sorted(self.sampled)
        parameters = dict(zip(names, 0.3 + 0.5 * np.arange(len(names)) / len(names), strict=True))
        parameters |= {"memory": 30.0} if "memory" in parameters else {}
        own = {name: parameters[name] for name in (*self.parameters, *self.checkpoint_parameters)}
        found = kernel_probe(self.memory_kernel, parameters)
        for domain in self.domains:
            coefficients = self.coefficients(_PROBED_RANGE, domain, **own)
            terms = self.predict(domain, _PROBED_FEATURES, coefficients)
            found += [np.ravel(coefficients[name]) for name in sorted(coefficients)]
            found += [np.ravel(np.broadcast_to(term, (_PROBES,))) for term in terms]
        return np.concatenate(found).tolist()

    # How it is composed

    def _terms(self, domain: str) -> list[Term]:
        own = (self.base, self.annealing, self.shift.get(domain))
        return [term for term in own if term is not None]

    @property
    def _functions(self) -> list[Callable[..., object]]:
        history = [] if self.history is None else [self.history.parameters, self.history.features]
        return [*history, *self._conversions, *self._formulas]

    @property
    def _formulas(self) -> list[Callable[..., Array]]:
        return [term.formula for domain in self.domains for term in self._terms(domain)]

    @property
    def _conversions(self) -> list[Callable[..., Mapping[str, Array]]]:
        terms = [term for domain in self.domains for term in self._terms(domain)]
        return [term.coefficients for term in terms if term.coefficients is not None]

    @cached_property
    def _sampled(self) -> tuple[str, ...]:
        """Arguments that are neither features nor ranges, and do not follow from others."""
        made = {name for domain in self.domains for term in self._terms(domain) for name in term.converted}
        asked = (name for function in self._functions for name in _arguments(function))
        replaced = frozenset() if self.history is None else _keys(self.history.parameters)
        not_sampled = {*FEATURES, *RANGE, *made, *replaced, *self._of_history}
        return _in_order(name for name in asked if name not in not_sampled)

    @cached_property
    def _of_history(self) -> frozenset[str]:
        """Names of the features and coefficients that depend on the pre-training."""
        return frozenset() if self.history is None else _keys(self.history.features)


_PROBES = 3
_PROBED_FEATURES = {name: np.linspace(0.1, 0.9, _PROBES) + 0.02 * place for place, name in enumerate(FEATURES)}
_PROBED_FEATURES |= {"replay_ratio": np.linspace(0.1, 0.9, _PROBES)}
_PROBED_RANGE = FittedRange(*(1 + 0.1 * np.arange(len(fields(FittedRange)))))


@cache
def _arguments(function: Callable[..., object]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)


def _call[R](function: Callable[..., R], given: Mapping[str, Array]) -> R:
    """Call a function with those of its arguments that are given: Python says which one is missing."""
    return function(**{name: given[name] for name in _arguments(function) if name in given})


def _keys(function: Callable[..., Mapping[str, Array]]) -> frozenset[str]:
    """Return the names in what a function returns, which do not depend on its arguments."""
    with np.errstate(all="ignore"):
        return frozenset(function(**dict.fromkeys(_arguments(function), np.float64(0.5))))


def _in_order(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
