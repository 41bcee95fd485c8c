"""Model files: a law, priors with reasons, and components of the discrepancy.

A model file is TOML. ``law`` names an entry of ``bayes_cpt.laws.shipped_laws.LAWS``; each table ``[priors.NAME]`` gives
the prior of a parameter: ``distribution``, its arguments, ``unit`` and ``reason``. An argument may be a table by
domain. Units make priors scale with the data: a ``loss`` is in units of the domain's loss at the end of pre-training,
``steps`` of the longest lineage, ``forward_area_cpt`` of the largest forward area of continual pre-training.
A model file may extend a shipped one: with ``extends = "cpt"`` it inherits all priors of that model, except those named
in ``without`` and those that it gives itself. It may name another ``law``.
A component of the discrepancy is in use if its scale has a prior (``annealing_scale`` turns on ``annealing``). With
``in_likelihood = false`` it is left out of the likelihood, where it would distort the law, and added to forecasts.
A model file gives priors for all parameters of out-of-domain sets
(``bayes_cpt.statistical_model.out_of_domain.REQUIRED``), or for none; ``k_scale``, by which runs depart from the
coefficients, is optional.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tomli_w

from bayes_cpt._support.files import is_file, parse_toml, read_text
from bayes_cpt._support.shipped import shipped
from bayes_cpt.errors import DataError, SpecError, hint, listed_faults, path_shown, quoted
from bayes_cpt.laws.law import Law
from bayes_cpt.laws.shipped_laws import LAWS
from bayes_cpt.statistical_model import out_of_domain
from bayes_cpt.statistical_model.discrepancy import COMPONENTS

DEFAULT_MODEL = "cpt-replay"
NOISE = ("noise_floor", "noise_learning_rate")
FORWARD_POWER = "forward_power"
NOT_ARGUMENTS = {"distribution", "unit", "reason", "in_likelihood"}
LARGEST = 1e100
"""Largest absolute value of an argument of a prior: squares of more would overflow."""
SMALLEST = 1e-100
"""Smallest value of an argument that must be positive."""
UNITS = ("none", "loss", "steps", "forward_area_cpt")


class Family(NamedTuple):
    """A family of priors: its arguments, and those of them that are in the prior's unit."""

    arguments: tuple[str, ...]
    scaled: tuple[str, ...]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "Normal": Family(("mu", "sigma"), ("mu", "sigma")),
        "LogNormal": Family(("median", "sigma"), ("median",)),
        "HalfNormal": Family(("sigma",), ("sigma",)),
        "Beta": Family(("alpha", "beta"), ()),
        "Uniform": Family(("lower", "upper"), ("lower", "upper")),
    }
)
"""Families of priors by name. LogNormal is given by its median and the standard deviation of the log."""


@dataclass(frozen=True)
class Prior:
    """The prior of one parameter; ``arguments`` are numbers, or numbers by domain."""

    family: str
    arguments: Mapping[str, float | Mapping[str, float]]
    unit: str
    reason: str
    in_likelihood: bool = True

    def argument(self, name: str, domain: str) -> float:
        """Return an argument's value for a domain."""
        value = self.arguments[name]
        if not isinstance(value, Mapping):
            return value
        if domain not in value:
            raise SpecError(f"a prior has {name} by domain, but none for {domain!r}: it has {', '.join(value)}")
        return value[domain]

    def in_units(self, scale: float, domain: str) -> dict[str, float]:
        """Return its arguments by name for a domain, in nats, steps or LR x steps: the unit is ``scale`` of these."""
        family = FAMILIES[self.family]
        given = {key: self.argument(key, domain) for key in family.arguments}
        return {key: value * scale if key in family.scaled else value for key, value in given.items()}


@dataclass(frozen=True)
class ModelSpec:
    """A model: a law, priors, and the parts of the discrepancy, as a model file gives them.

    Parameters
    ----------
    name
        Name of the model file.
    law
        The law.
    priors
        By parameter, its prior.
    components
        Parts of the discrepancy in use: names in ``bayes_cpt.COMPONENTS``.
    text
        The model file, complete with what it inherits from the model that it extends. A fit stores it.
    out_of_domain
        By parameter of out-of-domain sets, its prior; empty if the file has none.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> spec = bc.read_spec("cpt-replay")
    >>> spec.components
    ('smooth', 'peak', 'offset', 'annealing', 'shift', 'transfer')
    >>> spec.priors["alpha"].family, dict(spec.priors["alpha"].arguments)
    ('LogNormal', {'median': 0.4, 'sigma': 0.6})
    """

    name: str
    law: Law
    priors: Mapping[str, Prior]
    components: tuple[str, ...]
    text: str
    out_of_domain: Mapping[str, Prior] = MappingProxyType({})

    @property
    def fitted_components(self) -> tuple[str, ...]:
        """Parts of the discrepancy in the likelihood; the others are added to forecasts."""
        return tuple(name for name in self.components if self.priors[f"{name}_scale"].in_likelihood)


Spec = ModelSpec
"""The name of `ModelSpec` before 0.2; it still works."""


def read_spec(model: str | Path | ModelSpec) -> ModelSpec:
    """Read a shipped model by name, or a model file by path.

    Parameters
    ----------
    model
        Name of a shipped model, path of a model file (ending in ``.toml``), or a ModelSpec, which is returned as it is.

    Returns
    -------
    ModelSpec
        The model.

    Raises
    ------
    SpecError
        If there is no such model or file, or the file has faults; the message lists them all.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.read_spec("cpt").law.name
    'cpt'
    >>> bc.read_spec("cpt-replai")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    bayes_cpt.errors.SpecError: unknown model 'cpt-replai' (did you mean 'cpt-replay'?): ...
    """
    if isinstance(model, ModelSpec):
        return model
    path = Path(model)
    if path.suffix != ".toml":
        path = shipped("models") / f"{model}.toml"
        if str(model) not in model_names():
            names = model_names()
            raise SpecError(
                f"unknown model {quoted(str(model))}{hint(str(model), names)}: give a path that ends in .toml, or one "
                f"of {', '.join(names)}"
            )
    if not is_file(path):
        raise SpecError(f"no model file at {path_shown(path)}")
    try:
        text = read_text(path)
    except DataError as error:
        raise SpecError(f"{path}: {error}") from error
    return parse_spec(path.stem, text)


def model_names() -> list[str]:
    """Return the names of the shipped models.

    Returns
    -------
    list of str
        In alphabetical order; `read_spec` and `bayes_cpt.fit` take them.

    Examples
    --------
    >>> import bayes_cpt as bc
    >>> bc.model_names()[:4]
    ['annealing', 'annealing-eq1', 'cpt', 'cpt-eq4']
    """
    return sorted(path.stem for path in shipped("models").glob("*.toml"))


def parse_spec(name: str, text: str) -> ModelSpec:
    """Read a model from the text of a model file.

    Raises
    ------
    SpecError
        If the text has faults; the message lists them all.
    """
    try:
        document = parse_toml(text)
    except DataError as error:
        raise SpecError(f"{name}: not TOML: {error}") from error
    if "extends" in document:
        document = _extended(name, document)
        text = tomli_w.dumps(document)
    unknown = set(document) - {"law", "description", "priors"}
    if "law" not in document or unknown or not isinstance(document.get("priors", {}), dict):
        raise SpecError(
            f"{name}: a model file has law (or extends, without), description and [priors.NAME] tables; unknown: "
            f"{sorted(unknown)}"
        )
    chosen, tables = _law(name, document["law"]), document.get("priors", {})
    faults = [*_name_faults(chosen, tables), *(fault for item in tables.items() for fault in _table_faults(*item))]
    if faults:
        raise SpecError(listed_faults(name, faults))
    components = tuple(component for component in COMPONENTS if f"{component}_scale" in tables)
    priors = {key: _prior(table) for key, table in tables.items()}
    combined = {key: priors.pop(key) for key in out_of_domain.PARAMETERS if key in priors}
    return ModelSpec(name, chosen, priors, components, text, combined)


def _law(name: str, value: object) -> Law:
    try:
        return LAWS[value if isinstance(value, str) else quoted(value)]
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from error


def _extended(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model file's document with what it inherits from the model that it extends."""
    extended, without, own = document["extends"], document.get("without", []), document.get("priors", {})
    if not isinstance(extended, str) or extended.endswith(".toml"):
        known = ", ".join(model_names())
        raise SpecError(f"{name}: extends must name a shipped model, not {quoted(extended)}: one of {known}")
    if not isinstance(without, list) or not all(isinstance(parameter, str) for parameter in without):
        raise SpecError(f"{name}: without must be a list of parameters in quotes, not {quoted(without)}")
    try:
        base = parse_toml(read_spec(extended).text)
    except SpecError as error:
        raise SpecError(f"{name}: extends: {error}") from error
    if not isinstance(own, dict):
        raise SpecError(f"{name}: priors must be tables [priors.NAME], not {quoted(own)}")
    if strange := [parameter for parameter in without if parameter not in base["priors"]]:
        raise SpecError(f"{name}: without names {', '.join(strange)}, of which {document['extends']} has no prior")
    inherited = {key: table for key, table in base["priors"].items() if key not in without}
    rest = {key: value for key, value in document.items() if key not in {"extends", "without"}}
    return {"law": base["law"], **rest, "priors": inherited | own}


def required_parameters(law: Law) -> tuple[str, ...]:
    """Return the parameters of a law for which a model must give a prior."""
    if law.is_final:
        return (*law.sampled, NOISE[0])
    return (*law.sampled, *NOISE, *(("noise_shift",) if law.has_shift else ()))


def _optional_parameters(law: Law) -> tuple[str, ...]:
    """Return the power of the LR in progress, and the scales of the discrepancy components that suit the law."""
    scales = (f"{name}_scale" for name, component in COMPONENTS.items() if component.suits(law))
    return tuple(scales) if law.is_final else (FORWARD_POWER, *scales)


def _name_faults(law: Law, tables: Mapping[str, Any]) -> list[str]:
    required, optional = required_parameters(law), _optional_parameters(law)
    combined = out_of_domain.PARAMETERS if law.has_shift else ()
    if set(combined) & set(tables):
        required = (*required, *out_of_domain.REQUIRED)
    known = dict.fromkeys((*required, *optional, *combined))
    faults = [f"[priors.{name}] is missing: law {law.name!r} needs it" for name in required if name not in tables]
    faults += [
        f"[priors.{name}] is not a parameter of law {law.name!r}{hint(name, known)}: it has {', '.join(known)}"
        for name in tables
        if name not in known
    ]
    return faults


def _table_faults(name: str, table: Any) -> list[str]:
    where = f"[priors.{name}]"
    if not isinstance(table, Mapping):
        return [f"{where} must be a table with distribution, arguments and reason, not {quoted(table)}"]
    family = FAMILIES.get(str(table.get("distribution")))
    if family is None:
        return [
            f"{where} has distribution {quoted(table.get('distribution'))}: it must be one of {', '.join(FAMILIES)}"
        ]
    given = set(table) - NOT_ARGUMENTS
    faults = []
    if given != set(family.arguments):
        faults.append(f"{where} has arguments {sorted(given)}: {table['distribution']} takes {list(family.arguments)}")
    if table.get("unit", "none") not in UNITS:
        faults.append(f"{where} has unit {quoted(table['unit'])}: it must be one of {', '.join(UNITS)}")
    scales = (*(f"{component}_scale" for component in COMPONENTS), out_of_domain.SCALE)
    if not isinstance(table.get("in_likelihood", True), bool) or ("in_likelihood" in table and name not in scales):
        faults.append(f"{where} has in_likelihood: it is true or false, and for {', '.join(scales)} alone")
    if not str(table.get("reason", "")).strip():
        faults.append(f"{where} has no reason: say in a sentence why this prior")
    values = [v for key in given for v in (table[key].values() if isinstance(table[key], dict) else [table[key]])]
    if not all(_is_number(value) for value in values):
        faults.append(f"{where} has an argument that is not a finite number (or beyond {LARGEST:g})")
    elif any(
        value < SMALLEST for key in given & {"sigma", "median", "alpha", "beta"} for value in _numbers(table[key])
    ):
        positive = ", ".join(sorted(given - {"mu", "lower"}))
        faults.append(f"{where} has an argument that must be positive ({SMALLEST:g} or more): {positive}")
    elif given == {"lower", "upper"} and not _all_below(table["lower"], table["upper"]):
        faults.append(f"{where} has a lower bound that is not below the upper one")
    return faults


def _all_below(lower: float | Mapping[str, float], upper: float | Mapping[str, float]) -> bool:
    return max(_numbers(lower)) < min(_numbers(upper))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _numbers(argument: float | Mapping[str, float]) -> list[float]:
    return list(argument.values()) if isinstance(argument, Mapping) else [argument]


def _prior(table: Mapping[str, Any]) -> Prior:
    arguments = {key: value for key, value in table.items() if key not in NOT_ARGUMENTS}
    in_likelihood = table.get("in_likelihood", True)
    return Prior(table["distribution"], arguments, table.get("unit", "none"), table["reason"], in_likelihood)
