"""Laws, memory kernels, discrepancy components and risk measures of a user: docs/extend.md, run as it is."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import history

import bayes_cpt as bc
from bayes_cpt._support.registry import Registry
from bayes_cpt.errors import FitFileError, SpecError
from bayes_cpt.laws.open_checkpoints import opened
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import pilot_runs, simulate
from bayes_cpt.statistical_model.observations import check_runs

PAGE = (Path(__file__).parents[1] / "docs" / "extend.md").read_text(encoding="utf-8")
BLOCKS = {kind: re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("python", "toml")}
REGISTRIES = (bc.LAWS, bc.MEMORY_KERNELS, bc.COMPONENTS, bc.RISKS)
COEFFICIENTS = {name: KNOWLEDGE_PILE["pt"][name] for name in ("L0", "A", "alpha", "C1", "C2")} | {"B": 0.3, "E": 0.8}


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Run the page's first block in a folder with its files; afterwards restore the registries."""
    before = [set(registry) for registry in REGISTRIES]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(BLOCKS["python"][0], encoding="utf-8")
    (tmp_path / "mine.toml").write_text(BLOCKS["toml"][0], encoding="utf-8")
    names: dict[str, Any] = {}
    exec(BLOCKS["python"][0], names)
    yield names
    for registry, known in zip(REGISTRIES, before, strict=True):
        for name in set(registry) - known:
            registry.unregister(name)


@pytest.mark.usefixtures("mine")
def test_a_law_of_a_user_has_its_features_and_parameters():
    law = bc.read_spec("mine.toml").law
    shipped = bc.LAWS["cpt-eq4"]
    assert law.features == shipped.features
    assert set(law.sampled) == set(shipped.sampled) - {"beta"} | {"slow_share"}
    assert (law.has_shift, law.has_replay, law.has_size, law.is_final) == (True, False, False, False)
    assert bc.read_spec("mine.toml").components[-1] == "bump"
    check_runs(pilot_runs(law), law)


@pytest.mark.usefixtures("mine")
def test_a_law_of_a_user_has_an_open_form():
    law = opened(bc.LAWS["cpt-saturating"], "open-saturating")
    assert set(law.checkpoint_parameters) == {"checkpoint_forward_area", "decline_over_doubling", "loss_potential"}
    assert "annealing_ratio" not in law.sampled
    check_runs(pilot_runs(law), law)


@pytest.mark.usefixtures("mine")
def test_a_component_is_refused_for_laws_that_it_does_not_suit():
    text = (
        BLOCKS["toml"][0]
        .replace('"cpt-saturating"', '"annealing-eq1"')
        .replace('extends = "cpt-eq4"', 'extends = "annealing-eq1"')
    )
    Path("other.toml").write_text(text.replace('without = ["beta"]', ""), encoding="utf-8")
    with pytest.raises(SpecError, match=r"\[priors.bump_scale\] is not a parameter of law 'annealing-eq1'"):
        bc.read_spec("other.toml")


@pytest.mark.usefixtures("mine")
def test_a_missing_prior_of_a_users_law_is_named():
    Path("other.toml").write_text(BLOCKS["toml"][0].replace("slow_share", "slow_shar"), encoding="utf-8")
    with pytest.raises(SpecError, match=r"slow_share\] is missing: law 'cpt-saturating' needs it"):
        bc.read_spec("other.toml")


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_a_registry_refuses_names_that_are_taken_or_unknown(registry: Registry[Any]):
    name = next(iter(registry))
    with pytest.raises(SpecError, match=f"there is a {registry.kind} '{name}' already"):
        registry.register(name, registry[name])
    registry.register(name, registry[name], replace=True)
    with pytest.raises(SpecError, match=rf"unknown {registry.kind} '{name}x' \(did you mean"):
        registry[f"{name}x"]
    with pytest.raises(SpecError, match=f"unknown {registry.kind} 'nothing'"):
        registry.unregister("nothing")
    assert registry.get("nothing") is None
    assert "nothing" not in registry


def test_a_memory_kernel_without_memory_is_refused():
    with pytest.raises(SpecError, match="needs the parameter 'memory'"):
        bc.MemoryKernel(("length",), bc.MEMORY_KERNELS["none"].rows, bc.MEMORY_KERNELS["none"].weights)


@pytest.mark.slow
def test_the_page_runs_from_fit_to_backtest(mine: dict[str, Any], tmp_path: Path):
    """With few draws, all steps work, and the forecast is that of the user's law."""
    decaying = bc.wsd(peak=2e-3, steps=1500, warmup=100)
    pilots = {"cosine": (0.0, bc.cosine(2e-3, 1500, 100)), "low": (0.0, bc.wsd(1e-3, 1500, 100))}
    kernel = {"slow_share": 0.2}
    known = {"memory": 60.0, "noise": 0.003, "every": 75, "kernel": kernel, "seed": 1}
    planned = history(pilots, decaying)
    bc.write_curves(simulate(planned, "cpt-saturating", {"pt": COEFFICIENTS}, **known), tmp_path / "my-curves")
    exec(BLOCKS["python"][1].replace("seed=1", "seed=1, draws=100, tune=150, chains=2, progress=False"), mine)
    fit, bands = mine["fit"], mine["bands"]
    assert "effect_bump" in fit.posterior
    end = bands["loss"].sel(domain="pt").isel(step=-1)
    assert np.isfinite(end).all()
    assert mine["choice"].chosen in bands["run"].to_numpy()
    assert set(mine["scores"]["run"]) >= set(pilots)
    assert mine["scores"]["mae"].max() < 0.05

    bc.save(fit, "mine.nc")
    again = bc.load("mine.nc")
    assert isinstance(again, bc.Fit)
    assert again.spec.law.fingerprint() == fit.spec.law.fingerprint()
    bc.LAWS.unregister("cpt-saturating")
    with pytest.raises(FitFileError, match="unknown law 'cpt-saturating'"):
        bc.load("mine.nc")
