"""Plans, model files, fit files and curve folders, sound and with faults, as Hypothesis generates them.

A sound file is read. One with a fault is read too, or refused in one of bayes_cpt's own errors: there is no other end.
"""

import datetime
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import bayes_cpt as bc
from bayes_cpt.errors import BayesCptError, CurvesError, FitFileError, SpecError

SAVED = Path(__file__).parent / "data" / "posterior.nc"
relaxed = settings(deadline=None, max_examples=min(60, settings().max_examples))


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder to one example; pytest's own is shared by all examples of a test."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@contextmanager
def refused_by_name(kind: type[BayesCptError], name: str) -> Iterator[None]:
    """Let an error of one kind pass that says the name of the file."""
    try:
        yield
    except kind as error:
        if name not in str(error):
            raise AssertionError(f"no {name} in: {error}") from error


def toml(values: Mapping[str, Any]) -> str:
    """Return a mapping as TOML: tables come last."""
    plain = [f"{key} = {written(value)}" for key, value in values.items() if not isinstance(value, dict)]
    tables = [f"[{key}]\n{toml(value)}" for key, value in values.items() if isinstance(value, dict)]
    return "\n".join([*plain, *tables])


def written(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, datetime.date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
anything = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.booleans(),
    st.dates(),
    text,
    st.lists(st.one_of(st.floats(), text, st.booleans(), st.lists(st.integers(), max_size=2)), max_size=4),
    st.sampled_from(["$x$", "__import__('os')", "@x", "null", "nan", "../x", "wsd", "pt", "é😀", "{}", "0.5"]),
)


@st.composite
def spoilt(draw: st.DrawFn, sound: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with one value replaced, taken away or added, at any depth."""
    own = {key: dict(value) if isinstance(value, dict) else value for key, value in sound.items()}
    tables = [own, *(value for value in own.values() if isinstance(value, dict))]
    place = draw(st.sampled_from(range(len(tables))))
    table, kind = tables[place], draw(st.sampled_from(["replaced", "gone", "new"]))
    key = draw(st.sampled_from(sorted(table))) if kind != "new" else draw(st.sampled_from(["x", "Law", "steps2", "a"]))
    if kind == "gone":
        del table[key]
    else:
        table[key] = draw(anything)
    return own


# Plans ---------------------------------------------------------------------------------------------------------------

ratios = st.lists(st.sampled_from([0.0, 0.05, 0.5, 1.0]), min_size=1, max_size=3, unique=True)
sound_plans = st.fixed_dictionaries(
    {
        "parent": text.filter(str.strip),
        "replay": ratios,
        "schedule": st.fixed_dictionaries(
            {
                "kind": st.just("wsd"),
                "peak": st.lists(st.sampled_from([1e-6, 3e-4, 1e-3, 0.1]), min_size=1, max_size=2, unique=True),
                "steps": st.integers(200, 5000),
                "warmup": st.integers(0, 100),
            }
        ),
    }
)


@relaxed
@given(sound_plans)
def test_a_sound_plan_is_read(plan: dict[str, Any]):
    with folder() as here:
        (here / "plan.toml").write_text(toml(plan), encoding="utf-8")
        runs = bc.read_plan(here / "plan.toml").runs.cells
    assert len(runs) == len(plan["replay"]) * len(plan["schedule"]["peak"])
    assert set(runs["parent"]) == {plan["parent"]}


@relaxed
@given(sound_plans.flatmap(spoilt))
@example({"parent": "a", "replay": [0.5], "schedule": {"kind": "wsd", "peak": float("inf"), "steps": 1000}})
def test_a_plan_with_a_fault_is_read_or_refused_by_its_name(plan: dict[str, Any]):
    with folder() as here:
        path = here / "plan.toml"
        path.write_text(toml(plan), encoding="utf-8")
        with refused_by_name(CurvesError, "plan.toml"):
            assert len(bc.read_plan(path).runs.cells)


# Model files ---------------------------------------------------------------------------------------------------------

reasons = text.filter(str.strip)
sound_priors = st.one_of(
    st.fixed_dictionaries(
        {"distribution": st.just("Normal"), "mu": st.floats(-5, 5), "sigma": st.floats(0.01, 5), "reason": reasons}
    ),
    st.fixed_dictionaries(
        {
            "distribution": st.just("LogNormal"),
            "median": st.floats(0.01, 5),
            "sigma": st.floats(0.01, 5),
            "reason": reasons,
        }
    ),
)
sound_models = st.fixed_dictionaries(
    {
        "extends": st.sampled_from(["cpt", "cpt-replay", "cpt-size", "open-checkpoint"]),
        "description": text,
        "priors.beta": sound_priors,
        "priors.alpha": sound_priors,
    }
)


@relaxed
@given(sound_models)
def test_a_sound_model_file_is_read(model: dict[str, Any]):
    with folder() as here:
        (here / "mine.toml").write_text(toml(model), encoding="utf-8")
        spec = bc.read_spec(here / "mine.toml")
    assert spec.priors["beta"].family == model["priors.beta"]["distribution"]
    assert spec.law.name == bc.read_spec(model["extends"]).law.name


@relaxed
@given(sound_models.flatmap(spoilt))
def test_a_model_file_with_a_fault_is_read_or_refused(model: dict[str, Any]):
    with folder() as here:
        (here / "mine.toml").write_text(toml(model), encoding="utf-8")
        with refused_by_name(SpecError, "mine"):
            assert bc.read_spec(here / "mine.toml").priors


# Fit files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved() -> xr.DataTree:
    with xr.open_datatree(SAVED, engine="netcdf4") as opened:
        return opened.load()


ATTRIBUTES = ("model", "model_text", "law", "domains", "domain_names", "fitted_range", "verdict", "converged", "runs")
VARIABLES = ("memory", "beta", "shift_speed", "replay_scale", "effect_smooth", "noise_floor")


@st.composite
def faults(draw: st.DrawFn) -> tuple[str, Any, Any]:
    """Return a kind of fault of a fit file, where it is, and what is there."""
    kind = draw(st.sampled_from(["attribute", "attribute gone", "variable gone", "draws", "coordinate", "cut"]))
    if kind.startswith("attribute"):
        names = [
            "model",
            "model_text",
            "law",
            "domains",
            "domain_names",
            "fitted_range",
            "verdict",
            "converged",
            "runs",
        ]
        return (
            kind,
            draw(st.sampled_from(names)),
            draw(st.one_of(text, st.integers(-3, 9), st.sampled_from(["[1]", "{}", '["a"]', "null"]))),
        )
    if kind == "cut":
        return kind, draw(st.floats(0, 0.99)), None
    return kind, draw(st.sampled_from(VARIABLES)), draw(st.sampled_from([np.nan, np.inf, -np.inf]))


def damaged(tree: xr.DataTree, fault: tuple[str, Any, Any]) -> xr.DataTree:
    kind, where, value = fault
    own = tree.copy()
    posterior = own["posterior"].to_dataset()
    if kind == "attribute":
        own.attrs = {**own.attrs, where: value}
    elif kind == "attribute gone":
        own.attrs = {name: attribute for name, attribute in own.attrs.items() if name != where}
    elif kind == "variable gone":
        own["posterior"] = posterior.drop_vars(where)
    elif kind == "draws":
        own["posterior"] = posterior.assign(
            {where: posterior[where].where(posterior[where] != posterior[where].max(), value)}
        )
    elif kind == "coordinate":
        own["posterior"] = posterior.assign_coords(domain=["pt", "other"])
    return own


@settings(relaxed, max_examples=min(25, settings().max_examples))
@given(fault=faults())
@example(fault=("attribute", "domain_names", "[1]"))
@example(fault=("attribute", "domain_names", '["pt", 1]'))
@example(fault=("attribute", "domain_names", '["old", "new"]'))
def test_a_damaged_fit_file_is_loaded_or_refused_by_its_name(saved: xr.DataTree, fault: tuple[str, Any, Any]):
    with folder() as here:
        path = here / "fit.nc"
        if fault[0] == "cut":
            content = SAVED.read_bytes()
            path.write_bytes(content[: int(fault[1] * len(content))])
        else:
            damaged(saved, fault).to_netcdf(path, engine="netcdf4")
        with refused_by_name(FitFileError, "fit.nc"):
            fit = bc.load(path)
            assert fault[0].startswith("attribute")
            assert bc.in_words(fit)


# Curve folders -------------------------------------------------------------------------------------------------------


@st.composite
def changed_cells(draw: st.DrawFn) -> tuple[str, int, int, str]:
    """Return a table, a row and a column of it, and what its cell becomes."""
    value = draw(st.one_of(text, st.integers(-(10**20), 10**20).map(str), st.floats().map(str)))
    return draw(st.sampled_from(["runs", "lr", "losses"])), draw(st.integers(0, 4)), draw(st.integers(0, 4)), value


@relaxed
@given(change=changed_cells())
@example(change=("lr", 2, 1, "10000001"))
def test_a_folder_with_one_other_cell_is_read_or_refused_by_its_name(change: tuple[str, int, int, str]):
    table, row, column, value = change
    with folder() as here:
        shutil.copytree(Path(__file__).parents[1] / "data" / "checkpoints", here / "curves")
        path = here / "curves" / f"{table}.csv"
        lines = path.read_text(encoding="utf-8").splitlines()
        cells = lines[row].split(",")
        cells[column % len(cells)] = '"' + value.replace('"', '""') + '"'
        path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]), encoding="utf-8")
        with refused_by_name(CurvesError, "curves"):
            curves = bc.read_curves(here / "curves")
            with refused_by_name(CurvesError, "the data cannot be right"):
                assert bc.vetted(curves).curves.runs.index.equals(curves.runs.index)
