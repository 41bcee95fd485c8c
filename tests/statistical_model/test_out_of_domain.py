"""Out-of-domain sets: coefficients are recovered, forecasts follow pt and cpt, and impossible requests are refused."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import mostly_slow, scheduled
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import bayes_cpt as bc
from bayes_cpt.cli import main
from bayes_cpt.errors import BayesCptError, DataError, SpecError
from bayes_cpt.inference.fit import Prepared, fit_prepared, prepare
from bayes_cpt.inference.settings import REFIT, SamplerSettings
from bayes_cpt.posterior.pymc_model import build
from bayes_cpt.runs.holdout import Holdout
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model.model_files import parse_spec, read_spec
from bayes_cpt.statistical_model.observations import observe
from bayes_cpt.statistical_model.out_of_domain import (
    PARAMETERS,
    REQUIRED,
    Changes,
    combination,
    departure_columns,
    joint_measurements,
    origin,
    start_of,
    variance,
)

TRUE = {"k_pt": 0.6, "k_cpt": 0.5}
NOISE = 0.003
HELD_LIMIT = 0.8
"""Share of the true losses within the 90 % interval; seen: 1.0."""
ERROR_LIMIT = 0.02
"""Mean absolute error of the mean, nats; seen: 0.006."""


def with_set(curves: bc.Curves, name: str = "doc", noise: float = NOISE, **k: float) -> bc.Curves:
    """Add an out-of-domain set of known coefficients wherever pt and cpt were measured."""
    both = curves.losses.pivot_table(index=["run", "step"], columns="domain", values="loss").reset_index()
    scatter = noise * np.random.default_rng(2).standard_normal(len(both))
    loss = k["k_pt"] * both["pt"] + k["k_cpt"] * both["cpt"] + scatter
    added = pd.DataFrame({"run": both["run"], "step": both["step"], "domain": name, "loss": loss})
    return bc.curves_from_frames(curves.runs, curves.lr, pd.concat([curves.losses, added], ignore_index=True))


def without(curves: bc.Curves, where: str) -> bc.Curves:
    """Leave out the losses of a query."""
    return replace(curves, losses=curves.losses.drop(curves.losses.query(where).index).reset_index(drop=True))


@pytest.fixture(scope="module")
def everything() -> bc.Curves:
    """Return a PT run and three CPT runs from its end, without replay; ``other`` is held out."""
    decaying = bc.wsd(peak=2e-3, steps=3000, warmup=100)
    schedules = {
        "pt": decaying,
        "cpt": decaying,
        "low": bc.wsd(peak=5e-4, steps=2000, warmup=100),
        "other": bc.cosine(peak=1e-3, steps=2400, warmup=100),
    }
    runs = pd.DataFrame({"run": list(schedules), "phase": ["pt", "cpt", "cpt", "cpt"]})
    is_cpt = runs["phase"] == "cpt"
    runs = runs.assign(
        parent=["pt" if here else None for here in is_cpt],
        parent_step=[3000 if here else None for here in is_cpt],
        replay=[0.0 if here else None for here in is_cpt],
    )
    planned = bc.curves_from_frames(runs, pd.concat([scheduled(*item) for item in schedules.items()]))
    measured = simulate(planned, "cpt-eq4", KNOWLEDGE_PILE, memory=100.0, noise=NOISE, every=100, seed=1)
    return with_set(measured, **TRUE)


@pytest.fixture(scope="module")
def known(everything: bc.Curves) -> bc.Curves:
    return bc.select(everything, "run != 'other'")


@pytest.fixture(scope="module")
def unseen(everything: bc.Curves) -> bc.Curves:
    """Return the held-out run as a plan, with its losses."""
    rows = (frame[frame["run"] == "other"] for frame in (everything.lr, everything.losses))
    return bc.Curves(everything.runs.loc[["other"]], *rows)


@pytest.fixture(scope="module")
def prepared(known: bc.Curves) -> Prepared:
    return prepare(known, "cpt")


@pytest.fixture(scope="module")
def fitted(prepared: Prepared) -> bc.Fit:
    """Return one small fit that the tests here share: they must not change it."""
    return fit_prepared(prepared, SamplerSettings(draws=150, tune=150, chains=2, progress=False))


@pytest.fixture(scope="module")
def bands(fitted: bc.Fit, unseen: bc.Curves) -> xr.Dataset:
    return bc.forecast(fitted, unseen, every=100)


# What is fitted -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_coefficients_are_recovered_within_their_intervals(fitted: bc.Fit):
    assert (fitted.domains, fitted.out_of_domain) == (("pt", "cpt"), ("doc",))
    for name, value in TRUE.items():
        low, high = fitted.posterior[name].sel(out_of_domain="doc").quantile([0.01, 0.99]).to_numpy()
        assert low < value < high
        assert high - low < 0.2
    table = bc.informed(fitted)
    assert table.loc[["k_pt[doc]", "k_cpt[doc]"], "learnt"].all()
    assert {f"{name}[doc]" for name in PARAMETERS} <= set(bc.summary(fitted).index)  # so they are diagnosed too


@pytest.mark.slow
def test_a_run_that_was_not_seen_is_forecast(bands: xr.Dataset, unseen: bc.Curves):
    rows = bc.table(bands).merge(unseen.losses.query("domain == 'doc'"), on=["run", "domain", "step"])
    assert len(rows) == 25
    assert (rows["mean"] - rows["loss"]).abs().mean() < ERROR_LIMIT
    assert rows["loss"].between(rows["q05"], rows["q95"]).mean() >= HELD_LIMIT
    assert list(bands["domain"].to_numpy()) == ["pt", "cpt", "doc"]


@pytest.mark.slow
def test_a_forecast_starts_at_the_checkpoint_and_opens(fitted: bc.Fit, unseen: bc.Curves, known: bc.Curves):
    draws = bc.forecast(fitted, unseen, every=100, include=("parameters", "discrepancy")).sel(run="other", domain="doc")
    level = known.losses.query("run == 'pt' and step == 3000 and domain == 'doc'")["loss"].item()
    np.testing.assert_allclose(draws["loss"].sel(step=0), level, rtol=1e-12)
    np.testing.assert_allclose(draws["transfer_loss"], level, rtol=1e-12)
    spread = draws["loss"].std(("chain", "draw"))
    assert spread.sel(step=2400) > spread.sel(step=200) > 0


@pytest.mark.slow
def test_a_set_that_is_pt_itself_has_the_forecast_of_pt(fitted: bc.Fit, unseen: bc.Curves):
    """With k = (1, 0), no departure and no noise, draw by draw."""
    losses = fitted.curves.losses
    same = losses[losses["domain"] == "pt"].assign(domain="doc")
    curves = replace(fitted.curves, losses=pd.concat([losses[losses["domain"] != "doc"], same], ignore_index=True))
    exact = dict.fromkeys(PARAMETERS, 0.0) | {"k_pt": 1.0}
    tree = fitted.tree.copy()
    tree["posterior"] = fitted.posterior.assign({name: 0 * fitted.posterior[name] + exact[name] for name in PARAMETERS})
    draws = bc.forecast(replace(fitted, tree=tree, curves=curves), unseen, every=200)
    for name in ("loss", "transfer_loss"):
        np.testing.assert_allclose(draws[name].sel(domain="doc"), draws[name].sel(domain="pt"), rtol=1e-12)


@pytest.mark.slow
def test_each_source_of_uncertainty_widens_the_band(fitted: bc.Fit, unseen: bc.Curves, bands: xr.Dataset):
    def width(draws: xr.Dataset) -> float:
        return float(draws["loss"].sel(domain="doc", step=2400).std())

    one_curve = bc.forecast(fitted, unseen, every=100, include=())
    assert width(one_curve) < 1e-12
    for part in ("parameters", "discrepancy", "noise"):
        assert 0 < width(bc.forecast(fitted, unseen, every=100, include=(part,))) < width(bands)


@pytest.mark.slow
def test_pre_training_is_not_forecast(fitted: bc.Fit):
    draws = bc.forecast(fitted, fitted.curves, every=500)
    assert np.isnan(draws["loss"].sel(run="pt", domain="doc")).all()
    assert np.isfinite(draws["loss"].sel(run="pt", domain="pt")).all()
    rows = bc.table(draws)
    assert not rows.isna().to_numpy().any()
    assert set(rows.loc[rows["domain"] == "doc", "run"]) == {"cpt", "low"}


@pytest.mark.slow
def test_the_fit_describes_the_losses_it_has_seen(fitted: bc.Fit):
    checked, sentence = bc.predictive_check(fitted)
    assert "doc: 50 % intervals cover" in sentence
    replicated = checked.tree["posterior_predictive"]["loss_doc"].mean(("chain", "draw"))
    assert float(np.abs(replicated - checked.tree["observed_data"]["loss_doc"]).mean()) < 3 * NOISE


@pytest.mark.slow
def test_a_fitted_run_keeps_the_departure_it_has_shown(fitted: bc.Fit):
    """The departure of a new run is drawn from its scale; losses identify those of fitted runs."""
    shown = fitted.posterior["effect_k"].sel(out_of_domain="doc", k_run="cpt", coefficient="k_pt")
    assert float(shown.std()) < 0.8 * float(fitted.posterior["k_scale"].std())


@pytest.mark.slow
def test_decisions_may_depend_on_an_out_of_domain_set(fitted: bc.Fit):
    plans = bc.plan(parent="pt", replay=0.0, schedule=bc.wsd(peak=[5e-4, 2e-3], steps=2000, warmup=100))
    draws = bc.forecast(fitted, plans, every=2000)
    changed = (draws["loss"].sel(step=2000, domain="doc") - draws["transfer_loss"].sel(domain="doc")).mean(
        ("chain", "draw")
    )
    better = str(changed["run"].to_numpy()[int(np.argmin(changed.to_numpy()))])
    assert bc.decide(draws, {"doc": 1.0}).chosen == better
    strict = bc.decide(draws, {"cpt": 1.0}, [bc.at_most("doc", change=-9.0, probability=0.9)])
    assert strict.chosen is None


@pytest.mark.slow
def test_a_saved_fit_forecasts_the_same(fitted: bc.Fit, unseen: bc.Curves, bands: xr.Dataset, tmp_path: Path):
    bc.save(fitted, tmp_path / "fit.nc")
    loaded = bc.load(tmp_path / "fit.nc")
    assert (loaded.domains, loaded.out_of_domain) == (fitted.domains, fitted.out_of_domain)
    xr.testing.assert_identical(bc.forecast(loaded, unseen, every=100), bands)


@pytest.mark.slow
def test_the_command_line_forecasts_points_of_all_domains(
    fitted: bc.Fit,
    everything: bc.Curves,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    bc.save(fitted, tmp_path / "fit.nc")
    bc.write_curves(everything, tmp_path / "data")
    options = ["--at", tmp_path / "data" / "losses.csv", "-o", tmp_path / "out.csv", "--plot", tmp_path / "out.png"]
    arguments = ["bayes-cpt", "forecast", tmp_path / "fit.nc", tmp_path / "data", *options]
    monkeypatch.setattr(sys, "argv", [str(part) for part in arguments])
    with pytest.raises(SystemExit):
        main.main()
    rows = pd.read_csv(tmp_path / "out.csv")
    asked = everything.losses
    in_pretraining = (asked["domain"] == "doc") & (asked["run"] == "pt")
    assert len(rows) == len(asked) - in_pretraining.sum()
    assert not rows.drop(columns="extrapolates").isna().to_numpy().any()
    words = f"{in_pretraining.sum()} rows left out, since doc can be forecast only in cpt runs"
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_curves_of_the_prior_can_be_drawn(known: bc.Curves):
    prior = bc.prior_predictive(known, "cpt", draws=30)
    assert np.isfinite(prior["loss"].sel(domain="doc", run="cpt", step=1000)).all()
    assert len(bc.plot_prior_predictive(prior).axes) == 3


# The likelihood -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_likelihood", mostly_slow([False, True], True))
def test_the_density_is_that_of_a_normal(known: bc.Curves, in_likelihood: bool):
    text = read_spec("cpt").text
    before, after = text.split("[priors.k_scale]")
    spec = parse_spec("m", f"{before}[priors.k_scale]{after.replace('false', str(in_likelihood).lower(), 1)}")
    observations = observe(known, spec.law)
    model = build(spec, observations)
    point = model.initial_point()
    value = float(np.sum(model.compile_logp(vars=[model["loss_doc"]], sum=False, mode="FAST_COMPILE")(point)[0]))
    parameters = {name: np.array(point.get(name, np.exp(point.get(f"{name}_log__", 0)))[0]) for name in PARAMETERS}
    found = observations.out_of_domain["doc"]
    rate = observations.design.features["relative_learning_rate"][found.places]
    columns = parameters["k_scale"] * departure_columns(found) * in_likelihood
    covariance = np.diag(variance(parameters, rate)) + columns.T @ columns
    mean = found.level + combination(parameters, found.basis)
    assert value == pytest.approx(multivariate_normal(mean, covariance).logpdf(found.loss), rel=1e-9)


@given(
    k=st.tuples(*2 * [st.floats(-2, 2)]),
    start=st.tuples(*2 * [st.floats(1, 9)]),
    end=st.tuples(*2 * [st.floats(1, 9)]),
)
def test_without_a_departure_changes_and_levels_say_the_same(k: tuple, start: tuple, end: tuple):
    """Eq. 6 at the checkpoint plus the combined changes is Eq. 6 at the end."""
    coefficients = {"k_pt": np.array(k[0]), "k_cpt": np.array(k[1])}
    equation = partial(np.dot, k)
    moved = equation(start) + combination(coefficients, np.subtract(end, start)[:, None])
    np.testing.assert_allclose(moved, equation(end), atol=1e-9)


@given(scale=st.floats(0.1, 10), effects=st.lists(st.floats(-1, 1), min_size=4, max_size=4))
def test_departures_act_on_their_own_lineage_and_in_proportion_to_the_changes(scale: float, effects: list[float]):
    basis = scale * np.array([[0.0, 1.0, 2.0, 3.0], [0.0, -1.0, 4.0, 5.0]])
    lineage = np.array([0, 0, 1, 1])
    found = Changes(np.arange(4), np.zeros(4), np.zeros(4), basis, ("a", "b"), lineage, 0)
    expected = (np.reshape(effects, (2, 2))[lineage].T * basis).sum(axis=0)
    np.testing.assert_allclose(np.array(effects) @ departure_columns(found), expected, atol=1e-12)


# Where changes count from -------------------------------------------------------------------------------------------


def test_changes_count_from_the_checkpoint(known: bc.Curves):
    triple = known.losses.query("run == 'pt' and step == 3000").set_index("domain")["loss"]
    found = origin(known, "cpt", joint_measurements(known, "doc"))
    np.testing.assert_array_equal(found, triple[["pt", "cpt", "doc"]])


def test_step_0_replaces_the_end_of_the_parent(known: bc.Curves):
    """The checkpoint is known if any run that starts there was measured at step 0."""
    bare = without(known, "run == 'pt'")
    alone = without(bare, "run == 'low' and step == 0")
    start = bare.losses.query("run == 'cpt' and step == 0").set_index("domain")["loss"]
    np.testing.assert_array_equal(origin(alone, "low", joint_measurements(alone, "doc")), start[["pt", "cpt", "doc"]])


def test_changes_from_an_unmeasured_checkpoint_count_from_the_last_point_before_it(known: bc.Curves):
    short = without(known, "step == 0 or (run == 'pt' and step > 2850)")
    last = known.losses.query("run == 'pt' and step == 2800").set_index("domain")["loss"]
    np.testing.assert_array_equal(origin(short, "cpt", joint_measurements(short, "doc")), last[["pt", "cpt", "doc"]])


def test_changes_without_an_earlier_point_count_from_a_typical_checkpoint(known: bc.Curves):
    found = joint_measurements(known, "doc")
    unrelated = bc.curves_from_frames(
        known.runs.assign(parent=None, parent_step=None).loc[["cpt"]], known.lr[known.lr["run"] == "cpt"]
    )
    assert origin(unrelated, "cpt", found) is None
    np.testing.assert_allclose(start_of(unrelated, "cpt", found), start_of(known, "cpt", found))
    assert np.isnan(start_of(known, None, found)).all()


def test_points_without_pt_or_cpt_are_counted(known: bc.Curves):
    sparse = without(known, "domain == 'cpt' and run == 'low' and step > 1500")
    found = observe(sparse, read_spec("cpt").law).out_of_domain["doc"]
    assert (len(found.loss), found.set_aside) == (45, 5)


def test_an_open_checkpoint_is_known_by_step_0(known: bc.Curves):
    runs = known.runs[known.runs["phase"] == "cpt"].assign(parent=None, parent_step=None)
    lr, losses = (rows[rows["run"].isin(runs.index)] for rows in (known.lr, known.losses))
    found = observe(bc.curves_from_frames(runs, lr, losses), read_spec("open-checkpoint").law).out_of_domain["doc"]
    assert (len(found.loss), found.set_aside) == (50, 0)


# What is refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_out", "domains", "words"),
    [
        ("", ["pt", "doc"], "'doc' is a combination of pt and cpt: fit cpt too, or leave it out"),
        ("", ["doc"], "fit pt and cpt too"),
        ("", ["pt", "cpt", "dok"], "no losses on domain 'dok': the data have cpt, doc, pt"),
        ("domain == 'pt' and run != 'pt' and step > 200", None, "'doc' has 4 points in CPT at which pt and cpt were"),
        ("domain == 'doc' and run != 'pt'", None, "'doc' has 0 points in CPT"),
        ("domain == 'doc' and (run == 'pt' or step == 0)", None, "'doc' has 0 points in CPT"),
    ],
    ids=["without cpt", "alone", "unknown", "pt missing", "pre-training alone", "no checkpoint"],
)
def test_sets_that_cannot_be_combined_are_refused(
    known: bc.Curves, left_out: str, domains: list[str] | None, words: str
):
    curves = without(known, left_out) if left_out else known
    with pytest.raises(DataError, match=words):
        observe(curves, read_spec("cpt").law, domains)


def test_a_law_of_pre_training_has_no_out_of_domain_sets(known: bc.Curves):
    pretraining, annealing = bc.select(known, "phase == 'pt'"), read_spec("annealing").law
    assert observe(pretraining, annealing).every_domain == annealing.domains
    with pytest.raises(DataError, match="not the out-of-domain set 'doc'"):
        observe(pretraining, annealing, ["pt", "doc"])


def test_by_default_all_suitable_sets_are_fitted(known: bc.Curves):
    law = read_spec("cpt").law
    assert observe(known, law).every_domain == ("pt", "cpt", "doc")
    assert observe(known, law, ["doc", "cpt", "pt"]).every_domain == ("cpt", "pt", "doc")
    assert observe(known, law, ["pt", "cpt"]).every_domain == ("pt", "cpt")
    assert observe(without(known, "domain == 'cpt'"), law).every_domain == ("pt",)


def test_a_model_without_priors_for_the_sets_is_refused(known: bc.Curves):
    spec = read_spec("cpt")
    bare = parse_spec("mine", spec.text.split("[priors.k_pt]")[0])
    with pytest.raises(SpecError, match=r"'mine' has no priors for out-of-domain sets \(doc\).*k_pt.*--domains"):
        build(bare, observe(known, spec.law))
    build(bare, observe(known, spec.law, ["pt", "cpt"]))


def test_without_a_scale_runs_do_not_depart_from_the_coefficients(known: bc.Curves):
    spec = parse_spec("mine", read_spec("cpt").text.split("[priors.k_scale]")[0])
    model = build(spec, observe(known, spec.law))
    assert "k_pt" in model.named_vars
    assert "k_scale" not in model.named_vars
    assert set(spec.out_of_domain) == set(REQUIRED)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[priors.k_pt]", "[priors.k_pd]", ["k_pd] is not a parameter", "did you mean 'k_pt'?", "k_pt] is missing"]),
        ('false\nreason = "left-out', '3\nreason = "left-out', ["[priors.k_scale] has in_likelihood", "true or false"]),
    ],
)
def test_a_fault_in_the_priors_of_sets_is_reported(old: str, new: str, words: list[str]):
    text = read_spec("cpt").text
    assert old in text
    with pytest.raises(BayesCptError) as caught:
        parse_spec("mine", text.replace(old, new))
    assert all(word in str(caught.value) for word in words)


@pytest.mark.slow
def test_a_refit_without_a_run_leaves_its_out_of_domain_losses_out_too(prepared: Prepared, known: bc.Curves):
    assert len(prepared.observations.out_of_domain["doc"].loss) == 30 + 20
    refit = fit_prepared(prepared, replace(REFIT, draws=50, tune=50), Holdout("low", {"low": 0}))
    assert set(refit.tree["constant_data"]["run_doc"].to_numpy()) == {"cpt"}
    assert np.isfinite(bc.forecast(refit, known, steps={"low": [0, 2000]})["loss"]).all()
