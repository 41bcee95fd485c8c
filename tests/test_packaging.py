"""Packaging: every imported library is declared, and a wheel has the files that it needs."""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
OWN = {"artificial", "bayes_cpt", "conftest", "mutations", "open_checkpoint"}


def distribution(requirement: str) -> str:
    """Return the name in a requirement, spelt in one way."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return normal(found.group())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def distributions() -> Mapping[str, list[str]]:
    """Return the distributions that provide each importable name."""
    return packages_distributions()


@cache
def third_party_imports(folder: str) -> set[str]:
    """Return the top-level names of the libraries that the files of a folder import at any depth."""
    found: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - OWN


RUNTIME = {distribution(one) for one in PROJECT["project"]["dependencies"]}
EXTRAS = {distribution(one) for extra in PROJECT["project"]["optional-dependencies"].values() for one in extra}
DEVELOPMENT = {distribution(one) for one in PROJECT["dependency-groups"]["dev"]}


@pytest.mark.parametrize(
    ("folder", "declared"),
    [("bayes_cpt", RUNTIME | EXTRAS), ("tests", RUNTIME | DEVELOPMENT), ("benchmarks", RUNTIME | DEVELOPMENT)],
)
def test_what_is_imported_is_declared(folder: str, declared: set[str]):
    providers = distributions()
    for name in sorted(third_party_imports(folder)):
        assert {normal(one) for one in providers[name]} & declared, f"{folder} imports {name}: declare it"


def test_the_reader_of_imports_finds_them():
    assert {"pytensor", "arviz_stats", "numpy"} <= third_party_imports("bayes_cpt")
    assert "pytest" in third_party_imports("tests")


def test_what_is_declared_is_imported():
    backends = {"netcdf4", "filelock"}  # xarray loads the one by name, JAX the other for its cache of bounded size
    providers = distributions()
    imported = {normal(one) for name in third_party_imports("bayes_cpt") for one in providers[name]}
    assert imported | backends >= RUNTIME | EXTRAS


@pytest.mark.parametrize("file", ["bayes_cpt/py.typed", "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"])
def test_the_file_is_there(file: str):
    assert (ROOT / file).is_file()


def test_shipped_folders_are_in_the_wheel():
    for source in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]:
        assert (ROOT / source).is_dir()


def test_one_version_everywhere():
    version = PROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
