"""A fit in words: what is said when it is known what the data inform, for every shipped model and a user's law."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import drawn_from_prior, history, mostly_slow

import bayes_cpt as bc
from bayes_cpt.evaluation.meanings import GROUPS, NOISE, OTHER, meaning_of
from bayes_cpt.laws.law import Term
from bayes_cpt.statistical_model.model_files import parse_spec

NARROW = 0.1


def lines(fit: bc.Fit) -> list[str]:
    return bc.in_words(fit).splitlines()


def line(fit: bc.Fit, start: str) -> str:
    """Return the one line that starts so."""
    (found,) = (text for text in lines(fit) if text.startswith(start))
    return found


def narrow(model: str, names: tuple[str, ...], *domains: str) -> dict[tuple[str, str], float]:
    """Return the factors by which the data inform parameters on domains."""
    return {(name, domain): NARROW for name in names or bc.read_spec(model).priors for domain in domains}


def pilots(*ratios: float, peaks: tuple[float, ...] = (2e-3, 1e-3), decays: bool = True) -> bc.Curves:
    """Return curves with a CPT run for each replay ratio and peak."""
    schedules = {
        f"cpt{place}": (ratio, bc.wsd(peak=peak, steps=1000, warmup=50) if decays else bc.constant(peak, 1000, 50))
        for place, (ratio, peak) in enumerate((ratio, peak) for ratio in ratios for peak in peaks)
    }
    planned = history(schedules, bc.wsd(peak=2e-3, steps=2000, warmup=50))
    losses = [
        pd.DataFrame(
            {"run": run, "step": np.arange(0 if run != "pt" else 100, end + 1, 100), "domain": domain, "loss": 3.0}
        )
        for run, end in {"pt": 2000, **dict.fromkeys(schedules, 1000)}.items()
        for domain in ("pt", "cpt")
    ]
    return bc.curves_from_frames(planned.runs.reset_index(), planned.lr, pd.concat(losses))


@pytest.mark.parametrize("model", mostly_slow(bc.model_names(), "cpt-size", "open-multi-power", "d-cpt"))
def test_every_shipped_model_has_words_for_its_parameters(model: str):
    fit = drawn_from_prior(model)
    said = lines(fit)
    assert said[0] == f"{model}: {fit.verdict}"
    assert said[1].startswith("On priors alone: base loss, ")
    assert OTHER not in "".join(said)
    assert len(said) == 2
    informed = lines(drawn_from_prior(model, narrow(model, (), *fit.domains, "")))
    assert informed[1].startswith("Informed by the data: base loss, ")
    assert len(informed) == 2


def test_only_what_the_data_inform_is_said_to_be_informed():
    shape = ("memory", "level_power", "response_power")
    known = narrow("cpt-replay", ("annealing_drop", "annealing_ratio", *shape), "pt", "cpt")
    fit = drawn_from_prior("cpt-replay", known)
    assert line(fit, "Informed") == "Informed by the data: annealing."
    assert line(fit, "On priors").startswith(
        "On priors alone: base loss, shift by the new data, replay, noise and misfit."
    )


def test_domains_are_named_where_they_differ():
    known = narrow("cpt", ("shift_at_reference",), "pt", "cpt") | narrow("cpt", ("shift_speed",), "pt")
    assert line(drawn_from_prior("cpt", known), "Shift").startswith(
        "Shift by the new data: the data inform its size and its speed (pt); only priors inform its speed (cpt) and "
        "its shape."
    )
    known = narrow("cpt", ("shift_at_reference", "shift_speed", "beta"), "pt")
    assert line(drawn_from_prior("cpt", known), "Shift").startswith(
        "Shift by the new data: the data inform everything (pt); only priors inform everything (cpt)."
    )


def test_what_the_data_inform_in_part_is_said_so():
    known = {("shift_at_reference", "pt"): 0.6, ("beta", "pt"): NARROW}
    assert line(drawn_from_prior("cpt", known), "Shift").startswith(
        "Shift by the new data: the data inform its shape (pt); in part its size (pt); only priors inform "
    )
    assert "the data inform in part its size (pt); only" in line(
        drawn_from_prior("cpt", {("shift_at_reference", "pt"): 0.6}), "Shift"
    )


@pytest.mark.parametrize(
    ("curves", "advice"),
    [
        (pilots(0.0), "All CPT runs have replay ratio 0: add runs at two or more other ratios."),
        (pilots(0.0, 0.5), "The CPT runs have two replay ratios, 0 and 0.5: add runs at a third ratio."),
        (pilots(0.0, 0.25, 0.5), ""),
        (
            pilots(0.0, 0.25, 0.5, peaks=(2e-3,)),
            "All CPT runs have one peak LR, 0.002: add a CPT run with another value.",
        ),
        (pilots(0.0, 0.25, 0.5, decays=False), "The LR never falls in a CPT run: add a run that decays."),
    ],
    ids=["one ratio", "two ratios", "enough", "one peak", "no decay"],
)
def test_advice_is_what_the_runs_lack(curves: bc.Curves, advice: str):
    length = " All CPT runs have one length in steps, 1,000: add a CPT run with another value."
    said = line(drawn_from_prior("cpt-replay", curves=curves), "On priors").partition("misfit.")[2]
    assert said.replace(length, "").strip() == advice


def test_there_is_no_advice_on_what_the_data_inform():
    replay = ("replay_scale", "replay_exponent", "replay_slowing", "a1")
    fit = drawn_from_prior("cpt-replay", narrow("cpt-replay", replay, "pt", "cpt"), pilots(0.0))
    assert "replay ratio" not in bc.in_words(fit)


def test_the_history_of_an_open_checkpoint_can_be_stated():
    fit = drawn_from_prior("open-checkpoint", {("loss_potential", ""): NARROW})
    assert line(fit, "Checkpoint") == (
        "Checkpoint: the data inform its loss potential; only priors inform the length of its pre-training. The "
        "pre-training is not in the data: state what is known of it (--annealed-to, --pretrained)."
    )
    assert "No PT run" not in bc.in_words(fit)


def test_one_model_size_informs_no_effect_of_size():
    assert "All runs have one model size: add runs of another." in bc.in_words(drawn_from_prior("cpt-size"))


def test_out_of_domain_sets_have_their_line():
    curves = pilots(0.0)
    other = curves.losses.query("domain == 'pt'").assign(domain="doc")
    with_doc = bc.curves_from_frames(curves.runs.reset_index(), curves.lr, pd.concat([curves.losses, other]))
    fit = drawn_from_prior("cpt", {("k_pt", "doc"): NARROW}, with_doc)
    assert line(fit, "Out-of-domain") == (
        "Out-of-domain sets: the data inform the part of pt; only priors inform the part of cpt and the noise."
    )


@pytest.fixture
def users_law() -> Iterator[bc.Law]:
    def fading(forward_area_cpt, own_fade):
        return own_fade * forward_area_cpt

    law = replace(bc.LAWS["cpt"], name="fading", shift=dict.fromkeys(("pt", "cpt"), Term(fading)))
    bc.LAWS.register("fading", law)
    yield law
    bc.LAWS.unregister("fading")


def test_parameters_of_a_users_law_are_named(users_law: bc.Law):
    prior = '[priors.own_fade]\ndistribution = "Normal"\nmu = 0.0\nsigma = 1.0\nreason = "a test"'
    gone = '["shift_at_reference", "shift_speed", "beta"]'
    spec = parse_spec("mine", f'extends = "cpt"\nlaw = "fading"\nwithout = {gone}\n{prior}')
    fit = drawn_from_prior(spec, {("own_fade", "cpt"): NARROW})
    assert line(fit, "Other") == ("Other parameters: the data inform own_fade (cpt); only priors inform own_fade (pt).")


def test_letters_of_final_losses_mean_nothing_in_curves():
    assert meaning_of("a", final=True).group in GROUPS
    assert meaning_of("a", final=False) == (OTHER, "a", ())
    assert meaning_of("smooth_scale", final=False).group == NOISE


def test_points_that_were_not_fitted_are_counted():
    fit = drawn_from_prior("cpt")
    fit.tree.attrs["set_aside"] = 16
    assert lines(fit)[-1] == "16 points in the PT warm-up were not fitted: the law does not describe the warm-up."


@pytest.mark.parametrize(("level", "warned"), [(0.0, False), (3.0, True)])
def test_intervals_that_miss_the_fitted_losses_are_reported(level: float, warned: bool):
    fit = drawn_from_prior("annealing")
    random = np.random.default_rng(1)
    tree = fit.tree.copy()
    for group, shape, shift in (("posterior_predictive", (2, 200, 300), 0.0), ("observed_data", (300,), level)):
        dims = ("chain", "draw", "point")[3 - len(shape) :]
        values = {f"loss_{domain}": (dims, shift + random.standard_normal(shape)) for domain in fit.domains}
        tree[group] = xr.DataTree(xr.Dataset(values))
    said = lines(replace(fit, tree=tree))
    assert any(text.startswith("The intervals do not cover the fitted losses on cpt") for text in said) == warned


def test_an_average_has_the_lines_of_each_fit():
    fits = (drawn_from_prior("cpt-replay"), drawn_from_prior("cpt-replay-monotone"))
    said = bc.in_words(bc.Average(fits, (0.75, 0.25))).splitlines()
    assert said[0].startswith("Weight 0.750. cpt-replay: converged")
    assert sum(text.startswith("Weight") for text in said) == 2
    assert len(said) == 4
