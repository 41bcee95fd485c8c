"""Fixtures shared by the tests, and which tests run together, in which order, and in the quick loop."""

from __future__ import annotations  # names of heavy modules are not looked up

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import settings

import bayes_cpt as bc
from bayes_cpt.cli.main import main as command_line
from bayes_cpt.cli.output import BAD_INPUT
from bayes_cpt.inference.settings import SamplerSettings
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.runs.curve_folder import digest
from bayes_cpt.runs.holdout import NOTHING, Holdout
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import pilot_runs, simulate
from bayes_cpt.statistical_model.model_files import FAMILIES, ModelSpec, Prior, read_spec
from bayes_cpt.statistical_model.observations import observe

PNG = b"\x89PNG\r\n\x1a\n"

COMPILED = "prepared_cpt"
"""Fixture that compiles a model for many tests: those that use it share a worker, so that it is done once."""
SHARED = "the shared fit"
"""Group of these tests."""
APART = ("tests/test_notebooks.py", "tests/test_recovery.py", "tests/paper/test_posterior.py")
"""Files whose slow tests share no expensive fixture: each test may go to any worker."""
FIRST = ("test_notebooks.py", SHARED, "test_recovery.py", "test_posterior.py", "calibration of ")
"""First parts of the names of the longest groups, longest first, so that workers end at about the same time."""


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples of each property in the quick loop."""
    settings.register_profile("fast", max_examples=8)
    if config.option.markexpr == "fast":
        settings.load_profile("fast")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as slow or fast, and give each worker groups of tests, the longest first."""
    for place, item in enumerate(items):
        if COMPILED in used_fixtures(item):
            item.add_marker("slow")
        if item.get_closest_marker("slow") is None:
            item.add_marker("fast")
        item.add_marker(pytest.mark.xdist_group(group(item, place)))
    items.sort(key=priority)


def mostly_slow(values: Sequence[Any], *fast: Any) -> list[Any]:
    """Return the values of a parametrised test, of which only some are in the quick loop."""
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]


def used_fixtures(item: pytest.Item) -> set[str]:
    """Return the names of all fixtures that a test uses."""
    return set(getattr(item, "fixturenames", ()))


def group(item: pytest.Item, place: int) -> str:
    """Return the name of the tests that run on one worker with this one."""
    slow, file = item.get_closest_marker("slow") is not None, item.nodeid.split("::")[0]
    if COMPILED in used_fixtures(item):
        return SHARED
    if slow and "shipped_model" in used_fixtures(item):
        return f"calibration of {item.callspec.params['shipped_model']}"
    return f"{Path(file).name} {place}" if slow and file in APART else file


def priority(item: pytest.Item) -> tuple[bool, int]:
    """Return the sort key of tests: slow groups first, and among them the longest."""
    names = [mark.args[0] for mark in item.iter_markers("xdist_group")]
    ranks = [rank for rank, start in enumerate(FIRST) if names[0].startswith(start)]
    return item.get_closest_marker("slow") is None, ranks[0] if ranks else len(FIRST)


RUNS = """\
run,phase,parent,parent_step,replay,model_size,batch_tokens,seed
pt_const,pt,,,,1000,64,0
pt_decay,pt,pt_const,80,,1000,64,0
cpt_r00,cpt,pt_decay,20,0.0,1000,64,1
cpt_r50,cpt,pt_decay,20,0.5,1000,64,1
"""

LR = """\
run,step,lr
pt_const,1,0.002
pt_const,100,0.002
pt_decay,1,0.002
pt_decay,20,0.0
cpt_r00,1,0.0001
cpt_r00,10,0.001
cpt_r00,50,0.0
cpt_r50,1,0.0001
cpt_r50,10,0.001
cpt_r50,50,0.0
"""

STEPS_BEFORE = {"pt_const": 0, "pt_decay": 80, "cpt_r00": 100, "cpt_r50": 100}
FIRST_AND_LAST_STEP = {"pt_const": (10, 100), "pt_decay": (10, 20), "cpt_r00": (0, 50), "cpt_r50": (0, 50)}


@pytest.fixture(autouse=True)
def _figures_closed() -> Iterator[None]:
    """Close what a test drew: Matplotlib warns of too many figures, and those of all tests of a worker add up."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture
def tiny_folder(tmp_path: Path) -> Path:
    return tiny_curves(tmp_path)


def tiny_curves(where: Path) -> Path:
    """Write a sound curve folder: a PT run, a PT branch that decays, two CPT runs of different replay."""
    folder = where / "tiny"
    folder.mkdir()
    losses = [
        f"{run},{step},{domain},{level + 1 / (1 + STEPS_BEFORE[run] + step):.4f}"
        for run, (first, last) in FIRST_AND_LAST_STEP.items()
        for step in range(first, last + 1, 10)
        for domain, level in (("pt", 2.0), ("cpt", 2.5))
    ]
    (folder / "runs.csv").write_text(RUNS)
    (folder / "lr.csv").write_text(LR)
    (folder / "losses.csv").write_text("\n".join(["run,step,domain,loss", *losses, ""]))
    return folder


@pytest.fixture
def tiny(tiny_folder: Path) -> bc.Curves:
    return bc.read_curves(tiny_folder)


@pytest.fixture(scope="session")
def microcpt() -> bc.Curves:
    """Return the shipped curves; tests must not change them."""
    return bc.read_curves(Path(__file__).parents[1] / "data" / "microcpt")


def scheduled(run: str, schedule: Schedule) -> pd.DataFrame:
    """Return a run's rows of ``lr.csv``."""
    rates = bc.learning_rates(schedule)
    return pd.DataFrame({"run": run, "step": np.arange(1, rates.size + 1), "lr": rates})


def history(cpt: dict[str, tuple[float, Schedule]], pretraining: Schedule, pt: str = "pt") -> bc.Curves:
    """Return the plan of a PT run and of CPT runs (by name: replay ratio, schedule) from its end."""
    schedules = {pt: pretraining, **{name: schedule for name, (_, schedule) in cpt.items()}}
    lr = pd.concat([scheduled(name, schedule) for name, schedule in schedules.items()], ignore_index=True)
    last = len(bc.learning_rates(pretraining))
    rows = [(pt, "pt", None, None, None), *((name, "cpt", pt, last, replay) for name, (replay, _) in cpt.items())]
    return bc.curves_from_frames(pd.DataFrame(rows, columns=["run", "phase", "parent", "parent_step", "replay"]), lr)


@pytest.fixture(scope="session")
def simulated() -> bc.Curves:
    """Return losses on D_pt by Fig. 3: PT of 3,000 steps, CPT of as many, and a CPT run that has not yet decayed."""
    runs = pd.DataFrame(
        {
            "run": ["pt", "cpt", "going"],
            "phase": ["pt", "cpt", "cpt"],
            "parent": [None, "pt", "pt"],
            "parent_step": [None, 3000, 3000],
            "replay": [None, 0.0, 0.0],
        }
    )
    decaying = bc.wsd(peak=2e-3, steps=3000, warmup=100)
    lr = [scheduled("pt", decaying), scheduled("cpt", decaying), scheduled("going", bc.constant(2e-3, 1500, 100))]
    planned = bc.curves_from_frames(runs, pd.concat(lr))
    return simulate(planned, "cpt-eq4", {"pt": KNOWLEDGE_PILE["pt"]}, memory=100.0, noise=0.003, every=60, seed=1)


def comparison_of(errors: Mapping[str, Sequence[float]], folds: int) -> bc.Comparison:
    """Return a comparison of models from their errors on runs of one point: scores are errors, draws are equal."""
    rows = [
        {"model": model, "fold": f"run{place}", "run": f"run{place}", "domain": "pt", "error": error}
        for model, of_model in errors.items()
        for place, error in enumerate(of_model)
    ]
    points = pd.DataFrame(rows)
    points = points.assign(wis=points["error"], crps=points["error"], cover50=True, cover90=True, converged=True)
    pairs = pd.DataFrame([{"model": one, "other": other, "distance": 0.0} for one in errors for other in errors])
    distances = points[["fold", "run", "domain"]].drop_duplicates().merge(pairs, how="cross")
    densities = points[["model", "fold", "domain"]].assign(elpd=-(points["error"] ** 2), effective_draws=3.0)
    return bc.Comparison("run", points, densities, distances, folds)


type Compile = Callable[..., bc.Prepared]


@pytest.fixture(scope="session")
def compiled_once() -> Iterator[Compile]:
    """Compile a model for the same curves once for all tests; backtests and comparisons do so too."""
    kept: dict[tuple[Any, ...], bc.Prepared] = {}

    def once(
        curves: bc.Curves, model: Any, *, domains: Sequence[str] | None = None, holdouts: Sequence[Holdout] = ()
    ) -> bc.Prepared:
        spec = read_spec(model)
        key = (digest(curves), repr(spec), tuple(domains or ()), repr(holdouts))
        if key not in kept:
            kept[key] = bc.prepare(curves, spec, domains=domains, holdouts=holdouts)
        return kept[key]

    with pytest.MonkeyPatch.context() as patched:
        for module in ("evaluation.backtest", "inference.average"):
            patched.setattr(f"bayes_cpt.{module}.prepare", once)
        yield once


@pytest.fixture(scope="session")
def prepared_cpt(simulated: bc.Curves, compiled_once: Compile) -> bc.Prepared:
    """Return the model of the small fit, compiled."""
    return compiled_once(simulated, "cpt", domains=["pt"])


FEW = SamplerSettings(draws=200, tune=200, chains=4, seed=1, progress=False)
"""Enough draws to test functions of them, too few to trust them."""


@pytest.fixture(scope="session")
def fitted(prepared_cpt: bc.Prepared) -> bc.Fit:
    """Return one small fit that all tests share: they must not change it."""
    from bayes_cpt.inference.fit import fit_prepared  # noqa: PLC0415 - PyMC takes seconds to import

    return fit_prepared(prepared_cpt, FEW)


@pytest.fixture(scope="session")
def higher(fitted: bc.Fit) -> bc.Fit:
    """Return the small fit under the name of another model, with all losses 10 higher."""
    tree, posterior = fitted.tree.copy(), fitted.posterior
    tree["posterior"] = posterior.assign(loss_at_reference=posterior["loss_at_reference"] + 10)
    tree.attrs = {**fitted.tree.attrs, "model": "higher"}
    return replace(fitted, tree=tree, spec=replace(fitted.spec, name="higher"))


def drawn_from_prior(
    model: str | ModelSpec, narrow: Mapping[tuple[str, str], float] | None = None, curves: bc.Curves | None = None
) -> bc.Fit:
    """Return a fit whose draws are those of the prior, as if the data said nothing; nothing is sampled or compiled.

    ``narrow`` makes the draws of a parameter on a domain narrower by a factor, as if the data informed it; the domain
    is empty if all domains share the parameter.
    """
    from bayes_cpt.statistical_model.likelihood import DomainModel  # noqa: PLC0415 - PyTensor takes a second to import

    spec, random = read_spec(model), np.random.default_rng(1)
    pilots = pilot_runs(spec.law) if curves is None else curves
    observations = observe(pilots, spec.law)
    parameters: dict[str, xr.DataArray] = {}

    def draw(name: str, prior: Prior, domain: str) -> np.ndarray:
        place = domain or observations.domains[0]
        arguments = [prior.argument(key, observations.names.role(place)) for key in FAMILIES[prior.family].arguments]
        unit, factor = observations.scale(prior.unit, place), (narrow or {}).get((name, domain), 1.0)
        if prior.family == "LogNormal":
            return arguments[0] * unit * np.exp(factor * arguments[1] * random.standard_normal((2, 4000)))
        families = {"Normal": random.normal, "Beta": random.beta, "Uniform": random.uniform}
        draws = (unit if prior.family != "Beta" else 1.0) * families[prior.family](*arguments, (2, 4000))
        return draws.mean() + factor * (draws - draws.mean())

    for axis, domains, priors in (
        ("domain", observations.domains, spec.priors),
        ("out_of_domain", tuple(observations.out_of_domain), spec.out_of_domain),
    ):
        for name, prior in priors.items() if domains else ():
            if name in spec.law.checkpoint_parameters:
                parameters[name] = xr.DataArray(draw(name, prior, ""), dims=("chain", "draw"))
                continue
            values = np.stack([draw(name, prior, domain) for domain in domains], axis=-1)
            parameters[name] = xr.DataArray(values, dims=("chain", "draw", axis), coords={axis: list(domains)})
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(parameters)})
    tree.attrs = {"converged": 1, "verdict": "converged (by construction)"}
    models = {
        domain: DomainModel(
            spec.law, spec.components, domain, observations.fitted_range, observations.names.role(domain)
        )
        for domain in observations.domains
    }
    return bc.Fit(tree, spec, pilots, models)


@pytest.fixture(scope="session")
def made_up(simulated: bc.Curves) -> bc.Fit:
    """Return a fit to draws of the prior: nothing is compiled for JAX or sampled."""
    from bayes_cpt.inference.fit import with_data  # noqa: PLC0415 - JAX takes a second to import
    from bayes_cpt.posterior.parameters import parameter_tree  # noqa: PLC0415
    from bayes_cpt.posterior.priors import entries, parameter_values, prior_draws  # noqa: PLC0415

    prepared = bc.prepare(simulated, "cpt", domains=["pt"])
    every = entries(prepared.spec, prepared.observations)
    values = parameter_values(every, prior_draws(every, 60, np.random.default_rng(1))[None])
    drawn = parameter_tree(prepared.spec, prepared.models, prepared.observations, values)
    drawn["sample_stats"] = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((1, 60), bool))})
    drawn.attrs = {"seed": 1, "sampling": json.dumps({"draws": 60}), "converged": 1, "verdict": "draws of the prior"}
    return with_data(prepared, NOTHING, drawn)


class Outcome(NamedTuple):
    """The outcome of a command."""

    code: int
    out: str
    err: str


type Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return the command line, run in an empty folder."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bayes-cpt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command_line()
        written, complained = (str(text) for text in capsys.readouterr())
        return Outcome(int(str(caught.value.code)), written, complained)

    return call


def assert_refused(outcome: Outcome, *words: str) -> None:
    """One message on stderr, exit code 2, and not a file in the working directory."""
    assert outcome.code == BAD_INPUT
    assert outcome.out == ""
    assert outcome.err.startswith("bayes-cpt: ")
    assert outcome.err.count("bayes-cpt: ") == 1
    assert "Traceback" not in outcome.err
    assert all(word in outcome.err for word in words), outcome.err
    assert list(Path.cwd().iterdir()) == []
