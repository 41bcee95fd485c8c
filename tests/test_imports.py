"""Imports run one way, and the package answers before its heavy libraries load."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bayes_cpt

PACKAGE = Path(__file__).parents[1] / "bayes_cpt"

# a module imports only from its own wing and from earlier layers
LAYERS: list[set[str]] = [
    {"errors"},
    {"_support"},
    {"runs", "decisions"},
    {"plausibility", "planning"},
    {"laws"},
    {"simulation", "statistical_model"},
    {"posterior"},
    {"inference"},
    {"forecasting", "calibration", "jobs"},
    {"evaluation"},
    {"plots"},
    {"demonstration"},
    {"__init__"},
    {"cli"},
]
LAYER = {wing: place for place, wings in enumerate(LAYERS) for wing in wings}
HEAVY = {"arviz", "distributed", "jax", "matplotlib", "nutpie", "pymc", "pytensor"}
MOST_FILES = 10
"""Files of a wing, with its ``__init__``."""
MOST_LINES = 400


def module_name(path: Path) -> str:
    """Return a module's name within the package; a folder's ``__init__`` is named as the folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def wing(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


@cache
def inner_imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {name for name in full if name.removeprefix("bayes_cpt.") in MODULES}
            found |= submodules or {str(node.module)}
    inside = {name for name in found if name.split(".")[0] == "bayes_cpt"}
    return {name.removeprefix("bayes_cpt").removeprefix(".") or "__init__" for name in inside}


def test_every_wing_has_its_layer():
    assert {wing(name) for name in MODULES} == set(LAYER)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_one_way(name: str):
    own = LAYER[wing(name)]
    for other in inner_imports(MODULES[name]):
        assert wing(other) == wing(name) or LAYER[wing(other)] < own, f"{name} imports {other}"


@pytest.mark.parametrize("of_wing", sorted(LAYER))
def test_no_wing_has_a_circle(of_wing: str):
    inside = {name: {m for m in inner_imports(path) if m in MODULES} for name, path in MODULES.items()}
    TopologicalSorter({n: inside[n] for n in MODULES if wing(n) == of_wing}).prepare()


def test_no_wing_is_crowded_and_no_file_is_long():
    crowded = {name for name in LAYER if len([m for m in MODULES if wing(m) == name]) > MOST_FILES}
    long = {name for name, path in MODULES.items() if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES}
    assert not crowded
    assert not long


def test_the_reader_of_imports_finds_them():
    assert inner_imports(MODULES["_support.files"]) == {"errors"}
    assert "planning.schedules" in inner_imports(MODULES["planning.plans"])
    assert "errors" in inner_imports(MODULES["runs.curves"])


@pytest.mark.slow  # each starts Python anew
@pytest.mark.parametrize(
    "statement",
    [
        "import bayes_cpt; dir(bayes_cpt)",
        "from bayes_cpt.cli.main import main; sys.argv = ['bayes-cpt', '--help']; main()",
        "from bayes_cpt import at_most, plan, read_curves, read_plan, read_spec, select, wsd",
    ],
)
def test_heavy_libraries_load_on_first_use(statement: str):
    code = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stderr.split())
    assert "bayes_cpt" in loaded
    assert not loaded & HEAVY


def test_every_public_name_is_there():
    assert all(getattr(bayes_cpt, name) is not None for name in bayes_cpt.__all__)


def test_no_module_has_a_public_name():
    """Once loaded, the module would replace the function."""
    assert not set(bayes_cpt.__all__) & set(LAYER)
