"""Model files: which law, which priors and why, which parts of the discrepancy.

A model file is TOML. ``law`` names an entry of ``bayes_cpt.laws.registry.LAWS``; each table ``[priors.NAME]`` gives
the prior of a parameter: ``distribution``, its arguments, ``unit`` and ``reason``. An argument may be a table by
domain. Units make priors scale with the data: a ``loss`` is in units of the domain's loss at the end of pre-training,
``steps`` of the longest lineage, ``forward_area_cpt`` of the largest forward area of continual pre-training.
A model file may build on a shipped one: with ``extends = "cpt"`` it has that one's priors, but for those named in
``without`` and those that it gives itself; with a ``law`` of its own it has these priors for that law.
A part of the discrepancy is in use if its scale has a prior (``annealing_scale`` turns on ``annealing``). With
``in_likelihood = false`` it stays out of the fit, where it would let the law drift, and is added when predicting.
The parameters of out-of-domain sets (``bayes_cpt.statistical_model.out_of_domain.PARAMETERS``) have priors together or
not at all, but for ``k_scale``, by which runs depart from the coefficients.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tomli_w

from bayes_cpt._support.shipped import shipped
from bayes_cpt.errors import SpecError, hint
from bayes_cpt.laws.law import Law
from bayes_cpt.laws.registry import LAWS
from bayes_cpt.statistical_model import out_of_domain
from bayes_cpt.statistical_model.discrepancy import COMPONENTS

DEFAULT_MODEL = "cpt-replay"
NOISE = ("noise_floor", "noise_learning_rate")
FORWARD_POWER = "forward_power"
NOT_ARGUMENTS = {"distribution", "unit", "reason", "in_likelihood"}
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


@dataclass(frozen=True)
class ModelSpec:
    """A model: a law, priors, and the text that says so.

    Parameters
    ----------
    name
        Of the model file.
    law
        The law.
    priors
        By parameter.
    components
        Parts of the discrepancy in use, names in ``bayes_cpt.statistical_model.discrepancy.COMPONENTS``.
    text
        The model file, what it builds on filled in: a fit keeps it.
    out_of_domain
        Priors of what describes each out-of-domain set; empty if the file has none.
    """

    name: str
    law: Law
    priors: Mapping[str, Prior]
    components: tuple[str, ...]
    text: str
    out_of_domain: Mapping[str, Prior] = MappingProxyType({})

    @property
    def fitted_components(self) -> tuple[str, ...]:
        """Parts of the discrepancy that the likelihood has; the others are added when predicting."""
        return tuple(name for name in self.components if self.priors[f"{name}_scale"].in_likelihood)


Spec = ModelSpec
"""The name it had before 0.2, which stays."""


def read_spec(model: str | Path | ModelSpec) -> ModelSpec:
    """Read a shipped model by name, or a model file by path; a ModelSpec is returned as it is.

    Raises
    ------
    SpecError
        If there is no such model or file, or the file has faults; the message lists them all.
    """
    if isinstance(model, ModelSpec):
        return model
    path = Path(model)
    if path.suffix != ".toml":
        path = shipped("models") / f"{model}.toml"
        if not path.is_file():
            names = model_names()
            raise SpecError(
                f"unknown model {str(model)!r}{hint(str(model), names)}: give a path that ends in .toml, or one of "
                f"{', '.join(names)}"
            )
    if not path.is_file():
        raise SpecError(f"no model file at {path}")
    return parse_spec(path.stem, path.read_text(encoding="utf-8"))


def model_names() -> list[str]:
    """Return the names of the shipped models."""
    return sorted(path.stem for path in shipped("models").glob("*.toml"))


def parse_spec(name: str, text: str) -> ModelSpec:
    """Make a ModelSpec of a model file's text.

    Raises
    ------
    SpecError
        With every fault of the text.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
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
    chosen, tables = LAWS[str(document["law"])], document.get("priors", {})
    faults = [*_name_faults(chosen, tables), *(fault for item in tables.items() for fault in _table_faults(*item))]
    if faults:
        raise SpecError("\n".join([f"{name}: {len(faults)} faults", *(f"  - {fault}" for fault in faults)]))
    components = tuple(component for component in COMPONENTS if f"{component}_scale" in tables)
    priors = {key: _prior(table) for key, table in tables.items()}
    combined = {key: priors.pop(key) for key in out_of_domain.PARAMETERS if key in priors}
    return ModelSpec(name, chosen, priors, components, text, combined)


def _extended(name: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what a model file builds on."""
    base = tomllib.loads(read_spec(str(document["extends"])).text)
    without, own = document.get("without", []), document.get("priors", {})
    strange = [str(parameter) for parameter in without if parameter not in base["priors"]]
    if strange or not isinstance(own, dict):
        raise SpecError(f"{name}: without names {', '.join(strange)}, of which {document['extends']} has no prior")
    inherited = {key: table for key, table in base["priors"].items() if key not in without}
    rest = {key: value for key, value in document.items() if key not in {"extends", "without"}}
    return {"law": base["law"], **rest, "priors": inherited | own}


def required_parameters(law: Law) -> tuple[str, ...]:
    """Return the parameters that a model of this law must have a prior for."""
    if law.is_final:
        return (*law.sampled, NOISE[0])
    return (*law.sampled, *NOISE, *(("noise_shift",) if law.has_shift else ()))


def _optional_parameters(law: Law) -> tuple[str, ...]:
    """Power of the LR in progress, and scales of the parts of the discrepancy that suit the law."""
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
        return [f"{where} must be a table with distribution, arguments and reason, not {table!r}"]
    family = FAMILIES.get(str(table.get("distribution")))
    if family is None:
        return [f"{where} has distribution {table.get('distribution')!r}: it must be one of {', '.join(FAMILIES)}"]
    given = set(table) - NOT_ARGUMENTS
    faults = []
    if given != set(family.arguments):
        faults.append(f"{where} has arguments {sorted(given)}: {table['distribution']} takes {list(family.arguments)}")
    if table.get("unit", "none") not in UNITS:
        faults.append(f"{where} has unit {table['unit']!r}: it must be one of {', '.join(UNITS)}")
    scales = (*(f"{component}_scale" for component in COMPONENTS), out_of_domain.SCALE)
    if not isinstance(table.get("in_likelihood", True), bool) or ("in_likelihood" in table and name not in scales):
        faults.append(f"{where} has in_likelihood: it is true or false, and for {', '.join(scales)} alone")
    if not str(table.get("reason", "")).strip():
        faults.append(f"{where} has no reason: say in a sentence why this prior")
    values = [v for key in given for v in (table[key].values() if isinstance(table[key], dict) else [table[key]])]
    if not all(_is_number(value) for value in values):
        faults.append(f"{where} has an argument that is not a finite number")
    elif any(value <= 0 for key in given & {"sigma", "median", "alpha", "beta"} for value in _numbers(table[key])):
        faults.append(f"{where} has an argument that must be positive: {', '.join(sorted(given - {'mu', 'lower'}))}")
    return faults


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(argument: float | Mapping[str, float]) -> list[float]:
    return list(argument.values()) if isinstance(argument, Mapping) else [argument]


def _prior(table: Mapping[str, Any]) -> Prior:
    arguments = {key: value for key, value in table.items() if key not in NOT_ARGUMENTS}
    in_likelihood = table.get("in_likelihood", True)
    return Prior(table["distribution"], arguments, table.get("unit", "none"), table["reason"], in_likelihood)
