"""Domains by the user's names: from the folder through the fit to decisions, and what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayes_cpt as bc
from bayes_cpt._support.domain_names import DomainNames
from bayes_cpt.cli import main
from bayes_cpt.errors import DataError
from bayes_cpt.posterior.priors import entries
from bayes_cpt.statistical_model.model_files import read_spec
from bayes_cpt.statistical_model.observations import observe

OLD, NEW = "general", "my + code"
"""The user's names; the second needs quotes in an objective."""


@pytest.fixture(scope="module")
def plain() -> bc.Fit:
    found = bc.load(Path(__file__).parents[1] / "data" / "posterior.nc")
    assert isinstance(found, bc.Fit)
    return found


@pytest.fixture(scope="module")
def curves(plain: bc.Fit) -> bc.Curves:
    return plain.curves


@pytest.fixture(scope="module")
def folder(curves: bc.Curves, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the same curves under the user's names."""
    path = tmp_path_factory.mktemp("curves")
    renamed = curves.losses["domain"].replace({"pt": OLD, "cpt": NEW})
    bc.write_curves(curves.with_losses(curves.losses.assign(domain=renamed)), path)
    return path


@pytest.fixture(scope="module")
def named(folder: Path) -> bc.Curves:
    return bc.read_curves(folder, pt=OLD, cpt=NEW)


@pytest.fixture(scope="module")
def fitted(plain: bc.Fit, named: bc.Curves) -> bc.Fit:
    """Return the same posterior, fitted to the named curves."""
    tree, names = plain.tree.copy(), {"pt": OLD, "cpt": NEW}
    own = [names.get(domain, domain) for domain in plain.domains]
    tree["posterior"] = tree["posterior"].to_dataset().assign_coords(domain=own)
    tree.attrs = {**tree.attrs, "domains": json.dumps(own), "domain_names": json.dumps(named.names)}
    models = {name: plain.models[old]._replace(domain=name) for old, name in zip(plain.domains, own, strict=True)}
    return bc.Fit(tree, plain.spec, named, models)


def planned(curves: bc.Curves) -> bc.Curves:
    parent = next(run for run, record in curves.records.items() if record.phase == "pt")
    grid = bc.plan(parent=parent, replay=[0.1, 0.5], schedule=bc.wsd(peak=1e-3, steps=500, warmup=50))
    return bc.resolve(grid, curves)


def test_only_the_names_of_a_forecast_and_a_decision_differ(plain: bc.Fit, fitted: bc.Fit, tmp_path: Path):
    bc.save(fitted, tmp_path / "fit.nc")
    own = bc.load(tmp_path / "fit.nc")
    assert own.curves.names == DomainNames(OLD, NEW)
    assert own.domains == (OLD, NEW)
    expected, found = (bc.forecast(fit, planned(fit.curves), seed=3) for fit in (plain, own))
    assert found["domain"].to_numpy().tolist() == [OLD, NEW]
    np.testing.assert_array_equal(found["loss"], expected["loss"])
    first = bc.decide(expected, {"pt": 0.5, "cpt": 0.5}, [bc.at_most("pt", change=0.2)])
    second = bc.decide(found, {OLD: 0.5, NEW: 0.5}, [bc.at_most(OLD, change=0.2)])
    assert first.chosen == second.chosen
    assert OLD in bc.answer(second)
    assert "pt " not in bc.answer(second)


def test_priors_and_findings_are_those_of_the_roles(curves: bc.Curves, named: bc.Curves):
    spec = read_spec("cpt-replay")
    plain, own = (entries(spec, observe(runs, spec.law)) for runs in (curves, named))
    assert [(entry.name, entry.arguments) for entry in own] == [(entry.name, entry.arguments) for entry in plain]
    assert {entry.domain for entry in own} >= {OLD, NEW}
    assert bc.findings(named) == bc.findings(curves) == []
    assert bc.not_identified(named) == bc.not_identified(curves)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"pt": "genral"}, ["'genral', given as pt", "did you mean 'general'"]),
        ({"pt": OLD, "cpt": OLD}, ["'general' is given as pt and as cpt"]),
        ({"pt": ""}, ["no losses on '', given as pt"]),
    ],
)
def test_names_that_are_not_those_of_two_domains_are_refused(folder: Path, given: dict[str, str], words: list[str]):
    with pytest.raises(DataError) as caught:
        bc.read_curves(folder, **given)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_domain_cannot_take_the_name_of_another_role(curves: bc.Curves):
    more = curves.with_losses(pd.concat([curves.losses, curves.losses.assign(domain="de")]))
    with pytest.raises(DataError, match="'de' is given as pt, and the data have a domain 'pt' too"):
        more.with_names(pt="de")
    assert curves.with_names(pt="cpt", cpt="pt").names == DomainNames("cpt", "pt")


def test_subsets_and_other_losses_keep_the_names(named: bc.Curves):
    assert bc.select(named, "phase == 'pt'").names == named.names
    assert named.with_losses(named.losses).names == named.names
    assert named.joined(planned(named)).names == named.names


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["bayes-cpt", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main.main()
    return int(str(caught.value.code))


def test_commands_take_and_print_the_names(
    fitted: bc.Fit,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    bc.save(fitted, "fit.nc")
    bc.write_curves(planned(fitted.curves), "plan")
    assert command(monkeypatch, "check", folder) == main.BAD_INPUT
    assert "--pt NAME and --cpt NAME" in capsys.readouterr().err
    assert command(monkeypatch, "check", folder, "--pt", OLD, "--cpt", NEW) == 0
    assert "`fit` accepts these data." in capsys.readouterr().out
    command(monkeypatch, "forecast", "fit.nc", "plan", "-o", "forecast.csv")
    assert set(pd.read_csv("forecast.csv")["domain"]) >= {OLD, NEW}
    capsys.readouterr()
    command(monkeypatch, "decide", "fit.nc", "plan", "--limit", f"'{NEW}' <= +0.1 @ 0.5")
    said = capsys.readouterr().out
    assert f'0.5*{OLD} + 0.5*"{NEW}"' in said
    assert f'"{NEW}" <= +0.1 @ 0.5' in said
    command(monkeypatch, "decide", "fit.nc", "plan", "--minimise", f"{OLD} + 2*'{NEW}'")
    assert f'{OLD} + 2*"{NEW}"' in capsys.readouterr().out
    assert command(monkeypatch, "decide", "fit.nc", "plan", "--minimise", "pt") == main.BAD_INPUT
    assert f"the domains are {OLD}" in capsys.readouterr().err
