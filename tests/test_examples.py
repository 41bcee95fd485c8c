"""Examples in docstrings: every public function and class has one, and those that need no fit are true."""

import ast
import doctest
from functools import cache
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import pytest

import bayes_cpt

PACKAGE = Path(bayes_cpt.__file__).parent

ALIASES = {"CHECKS", "COMPONENTS", "LAWS", "MEMORY_KERNELS", "RISKS", "Spec"}
"""Public names that are no functions or classes: registries, and another name of a type."""

INTERNAL = [
    ("planning.schedules", "schedule"),
    ("decisions.risk", "cvar"),
    ("decisions.risk", "resolve_risk"),
    ("evaluation.scores", "score"),
]
"""Further functions with examples."""


class Documented(NamedTuple):
    """A docstring, and the file and line of its object."""

    text: str
    path: Path
    line: int


@cache
def docstrings(module: str) -> dict[str, Documented]:
    """Return the docstrings of a module's functions and classes, read without importing it."""
    path = PACKAGE / f"{module.replace('.', '/')}.py"
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        node.name: Documented(ast.get_docstring(node) or "", path, node.lineno)
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def home_of(name: str) -> str:
    return bayes_cpt._HOME[name]  # pyright: ignore[reportPrivateUsage]


PUBLIC = [(home_of(name), name) for name in bayes_cpt.__all__ if name not in ALIASES]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_every_public_name_has_an_example(module: str, name: str):
    text = docstrings(module)[name].text
    assert "\nExamples\n--------\n" in text
    assert ">>> " in text


@pytest.mark.parametrize(("module", "name"), [*PUBLIC, *INTERNAL])
def test_examples_are_true(module: str, name: str):
    """Modules are imported only if an example that is not skipped needs them."""
    documented = docstrings(module)[name]
    test = doctest.DocTestParser().get_doctest(documented.text, {}, name, str(documented.path), documented.line)
    if all(example.options.get(doctest.SKIP) for example in test.examples):
        return
    said: list[str] = []
    with mpl.rc_context({"backend": "agg"}):
        outcome = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not outcome.failed, "".join(said)
