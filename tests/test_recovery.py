"""Recovery: fits of curves simulated from published coefficients forecast other schedules, with honest intervals."""

import functools
from pathlib import Path

import pandas as pd
import pytest
from conftest import history, scheduled

import bayes_cpt as bc
from bayes_cpt.planning.schedules import Schedule
from bayes_cpt.simulation.published import KNOWLEDGE_PILE, MODEL_SIZE, PILE_OF_LAW, PublishedFit
from bayes_cpt.simulation.simulate import simulate

ERROR_LIMIT = 0.01
"""Mean absolute error of the median, nats; seen: 0.0012 or less on D_pt, 0.0006 on D_cpt, in both figures."""
HELD_LIMIT = 0.8
"""Share of the true losses within the 90 % interval; seen: 1.0, all four curves of both figures."""


def quality(rows: pd.DataFrame, truth: bc.Curves) -> pd.DataFrame:
    """Return mean absolute error of the median and the share of truth within the 90 % interval, by run and domain."""
    both = rows.merge(truth.losses, on=["run", "domain", "step"])
    assert len(both) == len(rows)
    compared = both.assign(
        error=(both["q50"] - both["loss"]).abs(), held=both["loss"].between(both["q05"], both["q95"])
    )
    return compared.groupby(["run", "domain"])[["error", "held"]].mean()


@pytest.mark.slow
@pytest.mark.parametrize("published", [KNOWLEDGE_PILE, PILE_OF_LAW], ids=["figure-3", "figure-11"])
def test_published_coefficients_are_recovered_well_enough_to_forecast_other_schedules(
    published: PublishedFit, tmp_path: Path
):
    fitted_schedule = bc.wsd(peak=2e-4, steps=30_000, warmup=500)
    measured = simulate(
        history({"cpt": (0.0, fitted_schedule)}, fitted_schedule),
        "cpt-eq4",
        published,
        memory=1000.0,
        noise=0.003,
        every=400,
        seed=1,
    )
    bc.write_curves(measured, tmp_path)
    fit = bc.fit(bc.read_curves(tmp_path), "cpt-eq4", draws=300, tune=300, chains=2, seed=1, progress=False)
    others = {
        "cosine": bc.cosine(peak=2e-4, steps=30_000, warmup=500),
        "longer": bc.wsd(peak=2e-4, steps=60_000, warmup=500),
    }
    planned = history({name: (0.0, schedule) for name, schedule in others.items()}, fitted_schedule)
    truth = simulate(planned, "cpt-eq4", published, memory=1000.0, noise=0.0, every=400, seed=1)
    steps = {name: range(0, end + 1, 400) for name, end in (("cosine", 30_000), ("longer", 60_000))}
    found = quality(bc.table(bc.forecast(fit, planned, steps=steps)), truth)
    print(f"\n{found}\n{fit.verdict}")
    assert len(found) == 4
    assert (found["error"] <= ERROR_LIMIT).all()
    assert (found["held"] >= HELD_LIMIT).all()


@pytest.mark.slow
def test_the_power_of_the_learning_rate_is_recovered_and_forecasts_a_longer_decay():
    """A constant LR and a cosine distinguish it from annealing."""
    own, shape = {name: KNOWLEDGE_PILE["pt"][name] for name in ("L0", "A", "alpha")}, {"forward_power": 0.5}
    schedules = {"constant": bc.constant(2e-3, 6000, 100), "cosine": bc.cosine(2e-3, 6000, 100)}
    longer = {"longer": bc.cosine(2e-3, 12_000, 100)}

    def losses(named: dict[str, Schedule], noise: float) -> bc.Curves:
        runs = pd.DataFrame({"run": list(named), "phase": "pt"}).assign(parent=None, parent_step=None, replay=None)
        planned = bc.curves_from_frames(runs, pd.concat([scheduled(run, one) for run, one in named.items()]))
        coefficients = {"pt": {**own, "C": KNOWLEDGE_PILE["pt"]["C1"]}}
        options = {"memory": 100.0, "every": 100, "seed": 1, "kernel": shape}
        return simulate(planned, "annealing-eq1", coefficients, noise=noise, **options)

    fit = bc.fit(losses(schedules, 0.003), "annealing-eq1", draws=300, tune=300, chains=2, seed=1, progress=False)
    power = fit.posterior["forward_power"].quantile([0.05, 0.95]).to_numpy()
    truth = losses(longer, 0.0)
    found = quality(bc.table(bc.forecast(fit, truth, steps={"longer": range(100, 12_001, 100)})), truth)
    print(f"\n{power}\n{found}\n{fit.verdict}")
    assert power[0] < shape["forward_power"] < power[1] < 0.8
    assert (found["error"] <= ERROR_LIMIT).all()
    assert (found["held"] >= HELD_LIMIT).all()


REPLAY_FORM = {"replay_scale": 0.05, "replay_exponent": 0.5, "replay_slowing": 0.0, "rate_exponent": 0.0, "a1": 0.0}


@pytest.mark.slow
def test_an_open_checkpoint_is_forecast_from_its_continual_pretraining_alone():
    coefficients = {domain: {**own, **REPLAY_FORM} for domain, own in KNOWLEDGE_PILE.items()}
    pretraining = bc.wsd(peak=2e-3, steps=6000, warmup=100, final=0.1)
    runs = {f"r{ratio:g}": (ratio, bc.wsd(peak=2e-3, steps=3000, warmup=100)) for ratio in (0.0, 0.5)} | {
        "short": (0.0, bc.linear(peak=1e-3, steps=1500, warmup=100))
    }
    known = simulate(
        history(runs, pretraining), "cpt-replay-eq4", coefficients, memory=100.0, noise=0.003, every=100, seed=1
    )
    other = {"other": (0.25, bc.cosine(peak=2e-3, steps=3000, warmup=100))}
    truth = simulate(
        history(other, pretraining), "cpt-replay-eq4", coefficients, memory=100.0, noise=0.0, every=100, seed=1
    )
    fit = bc.fit(without_history(known), "open-checkpoint", draws=150, tune=150, chains=2, seed=1, progress=False)
    assert {"loss_potential", "checkpoint_forward_area"} <= set(fit.posterior.data_vars)
    assert float(fit.posterior["loss_potential"].max()) <= 1
    found = quality(bc.table(bc.forecast(fit, without_history(truth), every=100)), truth)
    print(f"\n{found}\n{fit.verdict}")
    assert len(found) == 2
    assert (found["error"] <= 2 * ERROR_LIMIT).all()


SIZES = {"s": 106e6, "m": 594e6, "l": 1720e6}


def of_size(size: float, name: str, schedules: dict[str, Schedule]) -> bc.Curves:
    """Return the plan of a PT run and of CPT runs without replay of one model size, their names ending in its own."""
    cpt = {f"{run}_{name}": (0.0, schedule) for run, schedule in schedules.items()}
    planned = history(cpt, bc.wsd(peak=2e-4, steps=20_000, warmup=500), pt=f"pt_{name}")
    return bc.curves_from_frames(planned.runs.assign(model_size=size), planned.lr)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["cpt-size-eq7", "open-size"])
def test_a_model_size_never_run_is_forecast_and_the_more_widely_the_further_it_is(model: str):
    """Fig. 15: three sizes fitted, with their histories or without, and others forecast, more widely beyond them."""
    law = {"pt": {**MODEL_SIZE["pt"], **REPLAY_FORM}}
    pilots = {"wsd": bc.wsd(peak=2e-4, steps=10_000, warmup=200), "flat": bc.constant(1e-4, 10_000, 200)}
    other = {"cosine": bc.cosine(peak=2e-4, steps=10_000, warmup=200)}
    plans = [of_size(size, name, pilots) for name, size in SIZES.items()]
    new = [of_size(size, name, other) for name, size in {"between": 300e6, "beyond": 8000e6}.items()]

    def simulated(parts: list[bc.Curves], noise: float) -> bc.Curves:
        together = functools.reduce(bc.Curves.joined, parts)
        losses = simulate(together, "cpt-size-eq7", law, memory=1000.0, noise=noise, every=500, seed=1)
        return losses if model == "cpt-size-eq7" else without_history(losses)

    fit = bc.fit(simulated(plans, 0.003), model, domains=["pt"], draws=300, tune=300, chains=2, seed=1, progress=False)
    truth = simulated(new, 0.0)
    rows = bc.table(
        bc.forecast(fit, truth, steps=dict.fromkeys(("cosine_between", "cosine_beyond"), range(0, 10_001, 500)))
    )
    found = quality(rows, truth)
    width = (rows["q95"] - rows["q05"]).groupby(rows["run"]).mean()
    print(f"\n{found}\n{width}\n{fit.verdict}")
    assert (found["held"] >= HELD_LIMIT).all()
    assert found["error"].loc["cosine_between"].item() <= 2 * ERROR_LIMIT
    assert width["cosine_beyond"] > 2 * width["cosine_between"]
    assert set(rows.groupby("run")["extrapolates"].first()) == {"", "model size"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "own", "lengths"),
    [
        (
            "d-cpt",
            {"E": 1.5, "A": 1.0, "a": 0.2, "B": 8.0, "h": 0.3, "b": 0.4, "C": 0.2, "e": 0.1, "g": 0.5},
            (1000, 3000),
        ),
        ("data-mixing", {"c": 1.9, "k": 0.6, "t": 5.0}, (3000,)),
    ],
)
def test_final_losses_at_other_ratios_are_forecast(law: str, own: dict[str, float], lengths: tuple[int, ...]):
    def runs(ratios: tuple[float, ...]) -> bc.Curves:
        cpt = {f"r{r:g}_{n}": (r, bc.wsd(peak=2e-3, steps=n, warmup=100)) for r in ratios for n in lengths}
        planned = history(cpt, bc.wsd(peak=2e-3, steps=4000, warmup=100))
        return bc.curves_from_frames(planned.runs.assign(model_size=1e8), planned.lr)

    def simulated(planned: bc.Curves, noise: float) -> bc.Curves:
        losses = simulate(planned, law, {"pt": own}, memory=1.0, noise=noise, every=500, seed=2)
        of_cpt = bc.select(losses, "phase == 'cpt'", ["pt"])  # at step 0 the law says nothing
        return of_cpt.with_losses(of_cpt.losses[of_cpt.losses["step"] > 0])

    fit = bc.fit(
        simulated(runs((0.0, 0.05, 0.2, 0.5, 1.0)), 0.003), law, draws=300, tune=300, chains=2, seed=1, progress=False
    )
    planned = runs((0.1, 0.35))
    steps = {str(run): [int(str(run).split("_")[1])] for run in planned.runs.index if run != "pt"}
    found = quality(bc.table(bc.forecast(fit, planned, steps=steps)), simulated(planned, 0.0))
    print(f"\n{found}\n{fit.verdict}")
    assert len(found) == 2 * len(lengths)
    assert (found["error"] <= 2 * ERROR_LIMIT).all()
    assert (found["held"] >= HELD_LIMIT).all()


def without_history(curves: bc.Curves) -> bc.Curves:
    """Leave out the PT run, as for a released checkpoint."""
    runs = curves.runs[curves.runs["phase"] == "cpt"].assign(parent=None, parent_step=None)
    lr, losses = (rows[rows["run"].isin(runs.index)] for rows in (curves.lr, curves.losses))
    return bc.curves_from_frames(runs, lr, losses)
