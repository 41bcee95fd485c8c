"""Stated priors: texts of the command line become priors, are stored with the fit, and narrow forecasts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import history

import bayes_cpt as bc
from bayes_cpt.errors import DataError, SpecError
from bayes_cpt.laws.memory_kernels import RELAXING
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.runs.lineage import Segment, phases_of
from bayes_cpt.simulation.published import KNOWLEDGE_PILE
from bayes_cpt.simulation.simulate import simulate
from bayes_cpt.statistical_model.stated_priors import (
    REST,
    Annealed,
    Pretrained,
    parse_annealed,
    parse_pretrained,
    parse_prior,
    stated,
)

REWARMED = bc.wsd(peak=2e-3, steps=3000, warmup=100)
LOW = bc.linear(peak=1e-3, steps=1500, warmup=100)


def without_history(curves: bc.Curves, batch_tokens: float | None = None) -> bc.Curves:
    """Leave out the PT run, as for a released checkpoint."""
    runs = curves.runs[curves.runs["phase"] == "cpt"].assign(parent=None, parent_step=None, batch_tokens=batch_tokens)
    lr, losses = (rows[rows["run"].isin(runs.index)] for rows in (curves.lr, curves.losses))
    return bc.curves_from_frames(runs, lr, losses)


SHAPE = {"level_power": 0.7, "response_power": 0.8}
"""Parameters of annealing as relaxation, with a memory of ``MEMORY`` steps."""
MEMORY = 40.0
REPLAY_FORM = {"replay_scale": 0.05, "replay_exponent": 0.5, "replay_slowing": 0.0, "rate_exponent": 0.0, "a1": 0.0}


def annealed(final: float) -> Schedule:
    """Return the pre-training of a checkpoint annealed to ``final`` of its peak."""
    return bc.wsd(peak=2e-3, steps=6000, warmup=100, final=final)


def height(final: float) -> float:
    """Return the true loss potential of this checkpoint."""
    [before, _] = phases_of([Segment("pt", bc.learning_rates(annealed(final)))])
    weights = RELAXING.weights(memory=np.array(MEMORY), **{name: np.array(value) for name, value in SHAPE.items()})
    return float(1 - weights @ RELAXING.rows(before, np.array([6000]), 2e-3)[:, 0])


def pilots(final: float, runs: dict[str, tuple[float, Schedule]]) -> bc.Curves:
    """Return losses on D_pt by Fig. 3 of runs from a checkpoint annealed to ``final`` of its peak, history hidden."""
    planned = history(runs, annealed(final))
    coefficients = {"pt": {**KNOWLEDGE_PILE["pt"], **REPLAY_FORM}}
    options = {"memory": MEMORY, "kernel": SHAPE, "noise": 0.003, "every": 100, "seed": 1}
    measured = simulate(planned, "cpt-replay", coefficients, **options)
    return without_history(measured, batch_tokens=64)


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "table"),
    [
        ("beta ~ Normal(mu=0.2, sigma=.1)", "beta", {"distribution": "Normal", "mu": 0.2, "sigma": 0.1}),
        (" beta~Normal( mu = -1 , sigma = 3e-1 ) ", "beta", {"distribution": "Normal", "mu": -1, "sigma": 0.3}),
        (
            "replay_scale ~ LogNormal(median={pt=.1, cpt=0.2}, sigma=1)",
            "replay_scale",
            {"distribution": "LogNormal", "median": {"pt": 0.1, "cpt": 0.2}, "sigma": 1},
        ),
        (
            'memory ~ LogNormal(median=0.1, sigma=1, unit="steps", reason="I say so")',
            "memory",
            {"distribution": "LogNormal", "median": 0.1, "sigma": 1, "unit": "steps", "reason": "I say so"},
        ),
    ],
)
def test_a_prior_is_read(text: str, name: str, table: dict[str, object]):
    read, found = parse_prior(text)
    assert (read, found) == (name, {"reason": "given on the command line", **table})


@pytest.mark.parametrize(
    ("text", "annealed"),
    [
        ("0", Annealed(0.0)),
        ("0.1", Annealed(0.1)),
        (".1", Annealed(0.1)),
        ("10%", Annealed(0.1)),
        ("1", Annealed(1.0)),
        ("0.1 +- 0.03", Annealed(0.1, 0.03)),
        ("10% +- 3%", Annealed(0.1, 0.03)),
    ],
)
def test_the_final_learning_rate_of_pretraining_is_read(text: str, annealed: Annealed):
    assert parse_annealed(text) == annealed


@pytest.mark.parametrize(
    ("text", "pretrained"),
    [
        ("2e12 tokens at 3e-4", Pretrained(2e12, 3e-4)),
        ("2T tokens at 3e-4", Pretrained(2e12, 3e-4)),
        (" 300 B tokens  at .0003 ", Pretrained(3e11, 3e-4)),
    ],
)
def test_a_pretraining_is_read(text: str, pretrained: Pretrained):
    assert parse_pretrained(text) == pytest.approx(pretrained)


PILOTS = pilots(0.1, {"r": (0.0, REWARMED)})

# priors, annealed to, pretrained, model; words of the error
BAD: dict[str, tuple[list[str], str | None, str | None, str, list[str]]] = {
    "no family": (["beta = 3"], None, None, "open-checkpoint", ["cannot read the prior 'beta = 3'", "write it as"]),
    "unclosed": (["beta ~ Normal(mu=1"], None, None, "open-checkpoint", ["cannot read the prior", "write it as"]),
    "no names": (["beta ~ Normal(1, 2)"], None, None, "open-checkpoint", ["cannot read the arguments", "write it as"]),
    "strange family": (["beta ~ Cauchy(mu=1)"], None, None, "open-checkpoint", ["'Cauchy' is not one of Normal"]),
    "a key of the file": (
        ["beta ~ Normal(mu=1, sigma=1, in_likelihood=false)"],
        None,
        None,
        "open-checkpoint",
        ["in_likelihood is not an argument"],
    ),
    "unknown parameter": (
        ["betta ~ Normal(mu=1, sigma=1)"],
        None,
        None,
        "open-checkpoint",
        ["[priors.betta] is not a parameter of law 'open-checkpoint'", "did you mean 'beta'?"],
    ),
    "wrong argument": (["beta ~ Normal(mean=1, sigma=1)"], None, None, "open-checkpoint", ["takes ['mu', 'sigma']"]),
    "out of range": (["beta ~ Normal(mu=1, sigma=-1)"], None, None, "open-checkpoint", ["must be positive"]),
    "not a number": (["beta ~ Normal(mu=nan, sigma=1)"], None, None, "open-checkpoint", ["finite number"]),
    "twice": (["beta ~ Normal(mu=1, sigma=1)"] * 2, None, None, "open-checkpoint", ["beta is stated twice"]),
    "twice in two ways": (
        ["loss_potential ~ Beta(alpha=1, beta=1)"],
        "0.1",
        None,
        "open-checkpoint",
        ["loss_potential is stated twice"],
    ),
    "annealed to text": ([], "a tenth", None, "open-checkpoint", ["cannot read 'a tenth'", "10%"]),
    "annealed above the peak": ([], "1.5", None, "open-checkpoint", ["between 0 and 1, not 1.5"]),
    "annealed below 0": ([], "-0.1", None, "open-checkpoint", ["cannot read '-0.1'"]),
    "no spread": ([], "0.1 +- 0", None, "open-checkpoint", ["spread", "(0, 1], not 0"]),
    "no peak": ([], None, "2e12 tokens", "open-checkpoint", ["cannot read '2e12 tokens'", "2e12 tokens at 3e-4"]),
    "no tokens": ([], None, "0 tokens at 3e-4", "open-checkpoint", ["the tokens", "positive"]),
    "no LR": ([], None, "1B tokens at 0", "open-checkpoint", ["the peak LR", "positive"]),
    "endless": ([], None, "1e999 tokens at 1e-3", "open-checkpoint", ["the tokens", "inf"]),
    "a known checkpoint": ([], "0.1", None, "cpt-replay", ["law 'cpt-replay' reads", "use -m open-checkpoint"]),
    "a known pre-training": ([], None, "1B tokens at 1e-3", "cpt", ["law 'cpt' reads", "use -m open-checkpoint"]),
    "no such model": (["beta ~ Normal(mu=1, sigma=1)"], None, None, "open", ["unknown model 'open'"]),
}


@pytest.mark.parametrize("case", BAD)
def test_faulty_statements_are_refused(case: str):
    priors, annealed_to, pretrained, model, words = BAD[case]
    with pytest.raises(SpecError) as caught:
        stated(PILOTS, model, priors, annealed_to, pretrained)
    assert all(word in str(caught.value) for word in words), caught.value


def test_tokens_need_the_batch_of_the_pilots():
    with pytest.raises(DataError, match=r"give batch_tokens in runs\.csv"):
        bc.with_history(without_history(PILOTS), pretrained=(1e9, 1e-3))


@pytest.mark.parametrize("values", [{"annealed_to": 2.0}, {"annealed_to": Annealed(0.1, 0.0)}, {"pretrained": (0, 1)}])
def test_statements_in_python_have_the_same_checks(values: dict[str, object]):
    with pytest.raises(SpecError):
        bc.with_history(PILOTS, **values)


# Priors ---------------------------------------------------------------------------------------------------------------


def test_stated_priors_replace_those_of_the_model():
    before = bc.read_spec("open-checkpoint")
    spec = bc.with_priors(before, {"beta": "Normal(mu=0.5, sigma=0.01)"})
    assert spec.priors["beta"].arguments == {"mu": 0.5, "sigma": 0.01}
    assert spec.priors["beta"].reason
    assert {name: prior for name, prior in spec.priors.items() if name != "beta"} == {
        name: prior for name, prior in before.priors.items() if name != "beta"
    }
    assert (spec.law, spec.components, spec.name) == (before.law, before.components, before.name)


def test_the_text_of_a_model_includes_stated_priors():
    spec = bc.with_priors("open-checkpoint", {"beta": {"distribution": "Normal", "mu": 0.5, "sigma": 0.01}})
    assert bc.with_priors(spec, {}) == spec


def test_a_stated_scale_stays_out_of_the_likelihood_if_the_models_did():
    spec = bc.with_priors("open-checkpoint", {"shift_scale": "LogNormal(median=0.1, sigma=0.5)"})
    assert not spec.priors["shift_scale"].in_likelihood
    assert spec.priors["shift_scale"].arguments["median"] == 0.1


@pytest.mark.parametrize(
    ("schedule", "pretrained", "ratio"),
    [(REWARMED, None, 1.0), (REWARMED, (1e9, 2e-3), 1.0), (LOW, (1e9, 2e-3), 2.0), (LOW, None, 1.0)],
)
def test_loss_potential_is_converted_to_the_pilots_peak(
    schedule: Schedule, pretrained: tuple[float, float] | None, ratio: float
):
    curves = pilots(0.1, {"r": (0.0, schedule)})
    spec = bc.with_history(curves, "open-replay-eq4", annealed_to=0.6, pretrained=pretrained)
    assert spec.priors["loss_potential"].arguments["median"] == pytest.approx(0.6 * ratio)
    annealed = bc.with_history(curves, "open-replay-eq4", annealed_to=Annealed(0.0, 0.1), pretrained=pretrained)
    assert annealed.priors["loss_potential"].arguments == {"sigma": pytest.approx(0.1 * ratio)}
    by_height = bc.with_history(curves, annealed_to=0.6, pretrained=pretrained).priors["loss_potential"]
    assert by_height.arguments["median"] == pytest.approx((np.hypot(0.6, REST) * ratio) ** 0.7)


@pytest.mark.parametrize(
    ("share", "heights"), [(0.0, (0.17, 0.31)), (0.1, (0.21, 0.33)), (0.5, (0.56, 0.64)), (1.0, (1.0,))]
)
def test_a_stated_learning_rate_gives_the_heights_of_checkpoints_whose_history_is_known(
    share: float, heights: tuple[float, ...]
):
    """Heights on pt and cpt of the checkpoints of data/checkpoints, annealed to this share."""
    prior = bc.with_history(PILOTS, annealed_to=share).priors["loss_potential"]
    median, sigma = prior.argument("median", "pt"), prior.argument("sigma", "pt")
    assert (np.abs(np.log(np.array(heights) / median)) < 1.645 * sigma).all()
    assert sigma < 0.5


def test_tokens_are_counted_in_steps_of_the_pilots():
    area = bc.with_history(PILOTS, pretrained=(6000 * 64, 2e-3)).priors["checkpoint_forward_area"]
    assert area.unit == "none"
    true_area = bc.learning_rates(bc.wsd(peak=2e-3, steps=6000, warmup=100, final=0.1)).sum()
    assert abs(np.log(area.argument("median", "pt") / true_area)) < 1.645 * area.argument("sigma", "pt")


def test_at_a_lower_peak_than_the_pilots_pretraining_counts_by_more_than_its_learning_rate():
    equal, lower = (
        bc.with_history(PILOTS, pretrained=(6000 * 64, peak)).priors["checkpoint_forward_area"] for peak in (2e-3, 2e-4)
    )
    tenth = lower.argument("median", "pt") / equal.argument("median", "pt")
    assert 0.2 < tenth < 0.5
    assert lower.argument("sigma", "pt") > equal.argument("sigma", "pt")


def test_the_command_line_prints_stated_priors():
    _, said = stated(PILOTS, "open-checkpoint", ["beta ~ Normal(mu=0.2, sigma=0.1)"], "0.1", "1B tokens at 1e-3")
    assert len(said) == 3
    assert "beta: Normal(mu=0.2, sigma=0.1) (given on the command line)" in said[0]
    assert "over the pilots' largest LR, 0.002" in said[1]
    assert "15,625,000 steps of the pilots" in said[2]


# Effects --------------------------------------------------------------------------------------------------------------


def potential(fit: bc.Fit) -> np.ndarray:
    """Return the 5, 50 and 95 % quantiles of loss potential."""
    return np.quantile(fit.posterior["loss_potential"], [0.05, 0.5, 0.95])


def small_fit(curves: bc.Curves, model: "str | bc.ModelSpec" = "open-cpt") -> bc.Fit:
    return bc.fit(curves, model, draws=100, tune=150, chains=2, seed=1, progress=False)


REPLAYED = {"new": (0.0, REWARMED), "old": (1.0, REWARMED)}
"""On old data alone there is no shift, so the curve shows the re-warm-up from the checkpoint, and the annealing."""


@pytest.mark.slow
def test_loss_potential_is_recovered_from_pilots_alone():
    finals = (0.0, 0.5)
    true = np.array([height(final) for final in finals])
    found = np.array([potential(small_fit(pilots(final, REPLAYED), "open-checkpoint")) for final in finals])
    print(f"\n{true}\n{found}")
    assert (np.diff(found[:, 1]) > 0).all()
    assert (found[:, 0] <= true).all()
    assert (found[:, 2] >= true).all()
    assert (np.abs(found[:, 1] - true) <= POTENTIAL_LIMIT).all()


POTENTIAL_LIMIT = 0.1
"""Error of the median of loss potential; seen: .05 at a final LR of 0, .02 at half the peak."""


@pytest.mark.slow
def test_stated_priors_narrow_the_wide_bands_from_one_pilot(tmp_path: Path):
    curves = pilots(0.5, {"r": (0.0, REWARMED)})
    spec = bc.with_history(curves, "open-cpt", annealed_to=0.5, pretrained=(6000 * 64, 2e-3))
    open_fit, told = small_fit(curves), small_fit(curves, spec)
    planned = bc.plan(parent="", replay=0.0, schedule=bc.cosine(peak=2e-3, steps=6000, warmup=100))
    wide, narrow = (bc.table(bc.forecast(fit, planned)) for fit in (open_fit, told))
    width = (wide["q95"] - wide["q05"]).to_numpy()
    assert np.isfinite(wide[["mean", "q05", "q95"]].to_numpy()).all()
    assert width[-1] > 3 * 0.003
    for name in ("loss_potential", "checkpoint_forward_area"):
        assert float(told.posterior[name].std()) < 0.7 * float(open_fit.posterior[name].std()), name
    bc.save(told, tmp_path / "fit.nc")
    loaded = bc.load(tmp_path / "fit.nc")
    assert loaded.spec.priors == spec.priors
    pd.testing.assert_frame_equal(bc.table(bc.forecast(loaded, planned)), narrow, check_exact=True)
