"""The demo: fit, forecast, backtest and decide on the shipped curves, and write figures, tables and a report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader

from bayes_cpt._support.files import replacing
from bayes_cpt._support.shipped import shipped
from bayes_cpt.decisions.answers import answer
from bayes_cpt.decisions.choose import decide
from bayes_cpt.decisions.limits import at_most
from bayes_cpt.evaluation.backtest import backtest
from bayes_cpt.evaluation.in_words import in_words
from bayes_cpt.evaluation.informed import summary
from bayes_cpt.evaluation.scores import score
from bayes_cpt.evaluation.verdict import verdict
from bayes_cpt.forecasting.forecast import forecast
from bayes_cpt.forecasting.forecast_table import table
from bayes_cpt.forecasting.predictive_checks import predictive_check
from bayes_cpt.inference.fit import Fit, fit
from bayes_cpt.inference.storage import save
from bayes_cpt.planning.plans import plan, resolve
from bayes_cpt.planning.schedules import wsd
from bayes_cpt.plots.backtests import plot_backtest
from bayes_cpt.plots.curves import plot_curves
from bayes_cpt.plots.decisions import plot_decision
from bayes_cpt.plots.forecasts import plot_forecast
from bayes_cpt.plots.style import write_figure
from bayes_cpt.runs.curve_folder import read_curves
from bayes_cpt.runs.curves import Curves, select

SIZE = "model_size == 332448"
"""Query of the runs that are used."""
HELD_OUT = "cpt_m_wsd000_wsd_r025"
"""Run that is not fitted, and forecast."""
CHECKPOINT = "pt_m_wsd000"
"""Run whose end the candidates of the decision start from."""


@dataclass(frozen=True)
class Section:
    """A section of a report: a text, with a figure or a table."""

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
    """Fit all runs of the larger shipped model except one, forecast that run, and choose a replay ratio.

    A backtest on replay ratios shows whether the choice can be trusted.

    Parameters
    ----------
    folder
        Folder to write: fit.nc, forecast.csv, backtest.csv, decision.csv, figures and report.html.
    seed
        Random seed.
    progress
        Whether to show the progress of the sampler.
    done
        See `bayes_cpt.backtest`.

    Returns
    -------
    Fit
        The fit; its ``verdict`` says whether it converged.

    Raises
    ------
    DataError
        If the folder cannot be made or written to.

    Examples
    --------
    >>> bc.demo("demo").verdict  # doctest: +SKIP
    """
    target = Path(folder)
    everything = select(read_curves(shipped("data/microcpt")), SIZE, ["pt", "cpt"])
    seen, unseen = _split(everything, HELD_OUT)
    write_figure(plot_curves(everything), target / "curves.png")
    fitted, check = predictive_check(fit(seen, seed=seed, progress=progress), seed=seed)
    save(fitted, target / "fit.nc")
    tested, trust = _backtest_section(seen, target, seed, done)
    sections = [
        Section(
            "The data",
            "Loss curves of a small language model: pre-training, and continual pre-training on C source code. "
            f"{HELD_OUT} is held out of the fit, the backtest and the decision.",
            figure="curves.png",
        ),
        Section(
            "The fit",
            "What the data inform, and coefficients of the law.",
            f"{in_words(fitted)}\n{check}",
            table=_coefficients(fitted),
        ),
        _forecast_section(fitted, unseen, target),
        tested,
        _decision_section(fitted, trust, target),
    ]
    _write(sections, "" if fitted.converged else fitted.verdict, target / "report.html")
    return fitted


def _split(curves: Curves, run: str) -> tuple[Curves, Curves]:
    """Return the curves without a run, and only that run."""
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
        f"{row.domain}: mean absolute error {row.mae:.3f} nats, 90 % intervals cover {row.cover90:.0%} of {row.points} "
        f"points, mean width {row.width90:.3f} nats"
        for row in scores.itertuples()
    ]
    return Section(
        "Forecast of the held-out run",
        "25 % replay, forecast from runs at 0, 50 and 100 %. Dots are measured losses.",
        "\n".join(lines),
        "forecast.png",
    )


def _backtest_section(
    seen: Curves, target: Path, seed: int, done: Callable[[str, int, int], None]
) -> tuple[Section, str]:
    """Return the section, and the verdict of the backtest."""
    result = backtest(seen, leave="replay", seed=seed, done=done)
    with replacing(target / "backtest.csv") as temporary:
        result.table.to_csv(temporary, index=False)
    write_figure(plot_backtest(result), target / "backtest.png")
    trust = verdict(result.table)
    section = Section(
        "Can forecasts of an unseen replay ratio be trusted?",
        "The runs at 50 and at 100 % replay are left out in turn, and forecast from a fit to the others.",
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
        "Which replay ratio and which peak learning rate?",
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
