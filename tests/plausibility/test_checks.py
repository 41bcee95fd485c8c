"""Mistakes that practitioners make are named, and sound folders are not."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import drawn_from_prior, mostly_slow
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import MISTAKES, sound, spike, tokens, zero_rates

import bayes_cpt as bc
from bayes_cpt.errors import BayesCptError, CurvesError
from bayes_cpt.inference import fit as fitting

ROOT = Path(__file__).parents[2]


def spoilt(kind: str, size: str, seed: int, strength: float) -> bc.Curves:
    mistake, _names = MISTAKES[kind]
    return mistake(sound(seed, size), np.random.default_rng(100 * seed + int(10 * strength)), strength).curves


# Sound folders ------------------------------------------------------------------------------


def thinned(curves: bc.Curves, every: int) -> bc.Curves:
    """Keep every so manieth loss, and those at step 0."""
    place = curves.losses.groupby(["run", "domain"]).cumcount()
    return curves.with_losses(curves.losses[(place % every == 1 % every) | (curves.losses["step"] == 0)])


@pytest.mark.parametrize("folder", ["microcpt", "checkpoints"])
@pytest.mark.parametrize("every", mostly_slow([1, 4, 10], 4))
def test_nothing_is_found_in_measured_curves(folder: str, every: int):
    assert bc.findings(thinned(bc.read_curves(ROOT / "data" / folder), every)) == []


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("seed", mostly_slow(range(4), 0))
def test_nothing_is_found_in_sound_simulated_folders(size: str, seed: int):
    assert bc.findings(sound(seed, size).curves) == []


@pytest.mark.parametrize("decimals", [2, 3])
def test_rounded_losses_are_sound(decimals: int):
    curves = sound(1, "medium").curves
    assert bc.findings(curves.with_losses(curves.losses.assign(loss=curves.losses["loss"].round(decimals)))) == []


def test_a_run_in_progress_is_sound():
    curves = sound(1, "medium").curves
    done = curves.losses[(curves.losses["run"] != "c") | (curves.losses["step"] <= 1700)]
    assert bc.findings(curves.with_losses(done)) == []


@pytest.mark.slow
def test_templates_of_laws_are_sound():
    assert all(bc.findings(bc.pilot_runs(law)) == [] for law in bc.LAWS.values())


# Mistakes ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MISTAKES)
@pytest.mark.parametrize("seed", mostly_slow([1, 2], 1))
@pytest.mark.parametrize("strength", mostly_slow([0.3, 0.9], 0.3))
def test_mistakes_of_each_kind_are_named(kind: str, seed: int, strength: float):
    _mistake, names = MISTAKES[kind]
    found = bc.findings(spoilt(kind, "medium", seed, strength))
    assert {finding.name for finding in found} & set(names), found


SMALL = ("mixture", "dip", "epochs")
"""Kinds that six losses per run do not always show."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in MISTAKES if kind not in SMALL])
def test_mistakes_in_small_folders_are_named(kind: str):
    _mistake, names = MISTAKES[kind]
    for seed in (1, 2):
        found = bc.findings(spoilt(kind, "small", seed, 0.7))
        assert {finding.name for finding in found} & set(names), (seed, found)


@pytest.mark.parametrize(
    ("kind", "strength", "severity", "words"),
    [
        ("micro-steps", 0.5, "warning", ["micro-step", "1/4 of the schedule", "at step 500 of 2,000"]),
        ("level of the parent", 0.9, "refusal", ["one checkpoint, step 2,000 of 'pt_decay'", "two losses on pt"]),
        ("wrong parent_step", 0.9, "refusal", ["another parent_step", "at about step"]),
        ("bits", 0.9, "refusal", ["in bits", "nats per token"]),
        ("perplexity", 0.0, "refusal", ["in perplexity"]),
        ("mixture", 0.0, "refusal", ["training loss", "as a mixture does"]),
        ("spike", 0.5, "warning", ["2 points stand out", "are set aside", "expected"]),
        ("mean as last", 0.9, "warning", ["the mean over the run", "drop it"]),
        ("offset", 0.9, "warning", ["subtract 2,000 from its steps", "a row added at step 1 does not mend it"]),
        ("replay of new data", 0.9, "warning", ["share of new data", "share of pre-training data, from 0 to 1"]),
        ("replay 1 per cent", 0.9, "warning", ["the one with more replay forgets more", "is 1 one per cent"]),
        ("LR 0", 0.9, "refusal", ["LR 0 at every step", "so do 'b', 'c', 'pt_decay'"]),
        ("LR of few decimals", 0.9, "warning", ["all multiples of 0.0001", "rounded in the log"]),
        ("tokens", 0.9, "refusal", ["tokens given as steps", "steps of 4,194,304"]),
        ("unit of LR", 0.9, "warning", ["in units of about 1e-"]),
        ("sequences", 0.5, "warning", ["in sequences (of "]),
    ],
)
def test_a_finding_says_run_step_numbers_and_what_is_likely_meant(
    kind: str, strength: float, severity: str, words: list[str]
):
    finding = next(f for f in bc.findings(spoilt(kind, "small", 1, strength)) if f.name in MISTAKES[kind][1])
    text = " ".join(f.sentence for f in bc.findings(spoilt(kind, "small", 1, strength)))
    assert finding.severity == severity
    assert all(word in text for word in words), text
    assert finding.run in {"a", "b", "c", "pt_decay"}
    assert all(np.isfinite(number) for number in finding.numbers)
    assert f"--accept {finding.name}" in str(finding)


def test_steps_of_tokens_need_no_memory_for_each_step():
    curves = bc.select(spoilt("tokens", "medium", 1, 0.9), "phase == 'cpt'", ["pt"])
    found = bc.findings(curves)
    assert [finding.name for finding in found] == ["tokens-for-steps"]
    assert "rates" not in vars(curves)


# Accepting ------------------------------------------------------------------------------


def of(mistake, strength: float = 0.9) -> bc.Curves:
    return mistake(sound(1, "small"), np.random.default_rng(1), strength).curves


def test_what_cannot_be_right_is_refused_unless_it_is_accepted():
    curves = of(zero_rates)
    with pytest.raises(CurvesError, match=r"the data cannot be right: 1 fault\n.*--accept zero-learning-rate"):
        bc.vetted(curves)
    accepted = bc.vetted(curves, accept=["zero-learning-rate"])
    assert [(finding.accepted, finding.is_refused) for finding in accepted.findings] == [(True, False)]
    assert accepted.findings[0].is_shown  # an accepted refusal stands as a warning


def test_an_accepted_warning_is_recorded_and_silent_and_its_points_are_fitted():
    curves = of(spike)
    checked, accepted = bc.vetted(curves), bc.vetted(curves, accept=["outlier"])
    assert len(checked.outliers) == len(curves.losses) - len(checked.curves.losses) == 2
    assert (len(accepted.outliers), len(accepted.curves.losses)) == (0, len(curves.losses))
    assert [(finding.accepted, finding.is_shown) for finding in accepted.findings] == [(True, False)]


def test_only_fitted_domains_are_checked():
    curves = sound(1, "small").curves
    wrong = (curves.losses["domain"] == "cpt") & (curves.losses["run"] == "pt_decay")
    curves = curves.with_losses(curves.losses.assign(loss=curves.losses["loss"] + 0.5 * wrong))
    assert bc.vetted(curves, ["pt"]).findings == ()
    with pytest.raises(CurvesError, match="two losses on cpt"):
        bc.vetted(curves, ["pt", "cpt"])


def test_a_name_that_is_no_finding_is_not_accepted():
    with pytest.raises(
        BayesCptError, match=r"unknown finding 'outliers' \(did you mean 'outlier'\?\): the findings are t"
    ):
        bc.findings(sound(1, "small").curves, ["outliers"])


# Fits ------------------------------------------------------------------------------


def test_a_fit_warns_and_keeps_what_was_found(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(fitting, "prepare", lambda curves, *_, **__: seen.append(curves))
    monkeypatch.setattr(fitting, "fit_prepared", lambda *_: drawn_from_prior("cpt-replay"))
    curves = of(spike)
    with pytest.warns(bc.PlausibilityWarning, match="2 points stand out") as caught:
        fitted = bc.fit(curves)
    assert caught[0].filename == __file__
    assert len(seen[0].losses) == len(curves.losses) - 2
    assert fitted.findings == bc.vetted(curves).findings
    assert f"Warning: {fitted.findings[0].sentence}." in bc.in_words(fitted)


def test_a_fit_file_has_what_was_found(fitted: bc.Fit, tmp_path: Path):
    checked = bc.vetted(of(spike))
    tree = fitted.tree.copy()
    tree.attrs = {**tree.attrs, **checked.attributes}
    bc.save(replace(fitted, tree=tree), tmp_path / "fit.nc")
    loaded = bc.load(tmp_path / "fit.nc")
    assert loaded.findings == checked.findings
    pd.testing.assert_frame_equal(loaded.outliers, checked.outliers, check_dtype=False)
    assert fitted.findings == ()  # of a file from before there were findings


def test_a_forecast_and_a_decision_say_what_was_found():
    fitted = drawn_from_prior("cpt-replay")
    fitted.tree.attrs.update(bc.vetted(of(spike)).attributes)
    planned = bc.plan(parent="pt", replay=[0.0, 0.3], schedule=bc.wsd(peak=2e-3, steps=1000))
    draws = bc.forecast(fitted, planned, draws=20)
    assert draws.attrs["findings"] == fitted.findings[0].sentence
    assert f"Warning: {fitted.findings[0].sentence}" in bc.answer(bc.decide(draws, {"pt": 1.0}))


@pytest.mark.parametrize("refit", [bc.fit, bc.backtest, lambda curves: bc.compare(curves, ["cpt-replay", "cpt-power"])])
def test_nothing_is_compiled_of_data_that_cannot_be_right(refit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fitting, "prepare", lambda *_, **__: pytest.fail("compiled"))
    with pytest.raises(CurvesError, match="tokens given as steps"):
        refit(of(tokens))


# Documentation ------------------------------------------------------------------------------


def test_each_finding_has_its_row_in_the_documentation():
    page = (ROOT / "docs" / "what-check-looks-for.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", page, flags=re.MULTILINE))
    assert {name: text.strip() for name, text in rows.items()} == {
        name: check.looks_for for name, check in bc.CHECKS.items()
    }


# Strange data ---------------------------------------------------------------------------------------------------------

RATES = st.sampled_from([0.0, 1e-300, 1e-12, 3e-4, 1e-3, 1.0, 1e3])
LOSSES = st.one_of(st.floats(0.5, 12), st.sampled_from([1e-300, 1.0, 1e6]))


@st.composite
def folders(draw: st.DrawFn) -> bc.Curves:
    """Draw a well-formed folder of a PT run and CPT runs, with any values that the tables may have."""
    children = draw(st.integers(0, 3))
    names = ["pt", *(f"c{place}" for place in range(children))]
    end = draw(st.sampled_from([1, 5, 50, 2000]))
    rows, rates, losses = [("pt", "pt", None, None, None)], [], []
    for name in names:
        length = end if name == "pt" else draw(st.integers(1, end))
        if name != "pt":
            rows.append((name, "cpt", "pt", draw(st.integers(0, end)), draw(st.floats(0, 1))))
        listed = sorted({1, length, *draw(st.lists(st.integers(1, length), max_size=6))})
        rates += [(name, step, draw(RATES)) for step in listed]
        least = 1 if name == "pt" else 0
        for domain in ("pt", "cpt"):
            steps = draw(st.lists(st.integers(least, length), max_size=12, unique=True))
            losses += [(name, step, domain, draw(LOSSES)) for step in steps]
    runs = pd.DataFrame(rows, columns=["run", "phase", "parent", "parent_step", "replay"])
    sizes = runs.assign(
        batch_tokens=draw(st.sampled_from([None, 1, 2048, 2**40])), model_size=draw(st.sampled_from([None, 1, 10**12]))
    )
    frames = [
        pd.DataFrame(table, columns=columns)
        for table, columns in ((rates, ["run", "step", "lr"]), (losses, ["run", "step", "domain", "loss"]))
    ]
    curves = bc.curves_from_frames(sizes, frames[0])
    types = {"run": "str", "step": "int64", "domain": "str", "loss": float}
    return curves.with_losses(frames[1].astype(types))


@settings(deadline=None)
@given(folders())
def test_any_well_formed_folder_can_be_checked(curves: bc.Curves):
    for finding in bc.findings(curves):
        assert finding.name in bc.CHECKS
        assert finding.run in curves.runs.index
        assert "\n" not in finding.sentence
    accepted = bc.vetted(curves, accept=list(bc.CHECKS))
    assert not any(finding.is_refused for finding in accepted.findings)
    assert len(accepted.curves.losses) == len(curves.losses)
