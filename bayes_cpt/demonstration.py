"""The demo: from the shipped curves to a decision, with every figure and table in one folder and a report on top."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from bayes_cpt._support.files import replacing
from bayes_cpt._support.shipped import shipped
from bayes_cpt.decisions.choose import answer, decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.evaluation.backtest import backtest, verdict
from bayes_cpt.evaluation.scores import score
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.forecasting.predictive_checks import predictive_check
from bayes_cpt.forecasting.table import table
from bayes_cpt.inference.fit import Fit, fit, summary
from bayes_cpt.inference.storage import save
from bayes_cpt.plots.backtests import plot_backtest
from bayes_cpt.plots.curves import plot_curves
from bayes_cpt.plots.decisions import plot_decision
from bayes_cpt.plots.forecasts import plot_forecast
from bayes_cpt.plots.style import write_figure
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select
from bayes_cpt.runs.plans import plan, resolve
from bayes_cpt.runs.schedules import wsd

SIZE = "model_size == 332448"
HELD_OUT = "cpt_m_wsd000_wsd_r025"
CHECKPOINT = "pt_m_wsd000"


@dataclass(frozen=True)
class Section:
    """A part of a report: what it shows, and a figure or a table of it."""

    title: str
    text: str
    lines: str = ""
    figure: str = ""
    table: pd.DataFrame | None = None


def demo(
    folder: str | Path,
    *,
    seed: int = 1,
    progress: bool = True,
    done: Callable[[str, int, int], None] = lambda _name, _done, _all: None,
) -> Fit:
    """Fit all runs of the larger shipped model but one, forecast that one, and choose a replay ratio.

    A backtest on replay ratios says how far to trust the choice; ``done`` is called as by
    `bayes_cpt.evaluation.backtest.backtest`. Writes fit.nc, forecast.csv, backtest.csv, decision.csv, figures and
    report.html to ``folder``.
    """
    target = Path(folder)
    everything = select(read_curves(shipped("data/microcpt")), SIZE, ["pt", "cpt"])
    seen, unseen = _split(everything, HELD_OUT)
    write_figure(plot_curves(everything), target / "curves.png")
    fitted, held = predictive_check(fit(seen, seed=seed, progress=progress), seed=seed)
    save(fitted, target / "fit.nc")
    tested, trust = _backtest_section(seen, target, seed, done)
    sections = [
        Section(
            "The data",
            f"Loss curves of one small model: pre-training, and continual pre-training on C source. {HELD_OUT} is held "
            "out of all that follows.",
            figure="curves.png",
        ),
        Section("The fit", f"{fitted.verdict}. In the law's own terms:", held, table=_coefficients(fitted)),
        _forecast_section(fitted, unseen, target),
        tested,
        _decision_section(fitted, trust, target),
    ]
    _write(sections, "" if fitted.converged else fitted.verdict, target / "report.html")
    return fitted


def _split(curves: Curves, run: str) -> tuple[Curves, Curves]:
    """Return the curves without a run, and that run alone."""
    return curves.without([run]), curves.only([run])


def _coefficients(fitted: Fit) -> pd.DataFrame:
    rows = summary(fitted)[["mean", "sd", "eti90_lb", "eti90_ub", "r_hat"]]
    own = rows[
        [
            str(name).split("[")[0] in {"L0", "A", "alpha", "forward_power", "C1", "C2", "B", "E", "beta"}
            for name in rows.index
        ]
    ]
    return own.rename_axis("coefficient").reset_index()


def _forecast_section(fitted: Fit, unseen: Curves, target: Path) -> Section:
    measured = unseen.losses[unseen.losses["step"] > 0]
    draws = forecast(fitted, unseen, steps={HELD_OUT: measured["step"].unique()})
    rows = table(draws)
    with replacing(target / "forecast.csv") as temporary:
        rows.to_csv(temporary, index=False)
    write_figure(plot_forecast(draws, unseen), target / "forecast.png")
    scores = score(rows, measured).reset_index()
    lines = [
        f"{part.domain}: mean absolute error {part.mae:.3f}, 90 % intervals hold {part.cover90:.0%} of {part.points} "
        f"points, mean width {part.width90:.3f}"
        for part in scores.itertuples()
    ]
    return Section(
        "A run that the fit has not seen",
        "25 % replay, forecast from runs at 0, 50 and 100 %; dots are what was measured.",
        "\n".join(lines),
        "forecast.png",
    )


def _backtest_section(
    seen: Curves, target: Path, seed: int, done: Callable[[str, int, int], None]
) -> tuple[Section, str]:
    """Return the section, and what it says in a sentence."""
    result = backtest(seen, leave="replay", seed=seed, done=done)
    with replacing(target / "backtest.csv") as temporary:
        result.table.to_csv(temporary, index=False)
    write_figure(plot_backtest(result), target / "backtest.png")
    trust = verdict(result.table)
    section = Section(
        "Can it be trusted with a replay ratio?",
        "The runs at 50 and at 100 % replay are left out in turn, and forecast from a fit of the others.",
        trust,
        "backtest.png",
    )
    return section, trust


def _decision_section(fitted: Fit, trust: str, target: Path) -> Section:
    candidates = plan(
        parent=CHECKPOINT,
        replay=[0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        schedule=wsd(peak=[1e-3, 2e-3], steps=3000, warmup=100),
    )
    planned = resolve(candidates, fitted.curves)
    ends = {str(run): [3000] for run in planned.runs.index}
    decision = decide(
        forecast(fitted, planned, steps=ends), {"pt": 0.5, "cpt": 0.5}, [at_most("pt", change=0.2, probability=0.9)]
    )
    with replacing(target / "decision.csv") as temporary:
        decision.table.to_csv(temporary, index=False)
    write_figure(plot_decision(decision), target / "decision.png")
    columns = ["run", "pt_change_mean", "cpt_change_mean", "objective_mean", "expected_regret", "reason"]
    return Section(
        "Which replay ratio, which peak learning rate?",
        "The loss on pt may rise by at most 0.2 with probability 0.9.",
        f"{answer(decision)}\n{trust}",
        "decision.png",
        decision.table[columns],
    )


def _write(sections: list[Section], warning: str, path: Path) -> None:
    template = Environment(loader=PackageLoader("bayes_cpt"), autoescape=True).get_template("report.html.j2")
    text = template.render(title="bayes_cpt on real curves", sections=sections, warning=warning)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
