"""Bayesian scaling laws for continual pre-training: forecasts with intervals, decisions under risk.

Names load what they need on first use: PyMC, JAX and matplotlib cost seconds, and reading curves needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayes_cpt.averaging import Average, average, fit_average, load, read_weights, save
    from bayes_cpt.backtesting import Backtest, backtest, means, read_scores, verdict
    from bayes_cpt.calibration import Calibration, calibrate
    from bayes_cpt.comparison import Comparison, compare
    from bayes_cpt.curves import Curves, curves_from_frames, read_curves, select, write_curves
    from bayes_cpt.decisions import Decision, answer, at_most, decide, parse_limit, parse_objective
    from bayes_cpt.errors import BayesCptError
    from bayes_cpt.forecasting import forecast, read_points, table
    from bayes_cpt.identification import curves_summary, lineage_tree, not_identified
    from bayes_cpt.inference import Fit, Prepared, fit, prepare, summary
    from bayes_cpt.knowledge import Annealed, Pretrained, stated, with_history, with_priors
    from bayes_cpt.plans import Plan, plan, read_plan, resolve
    from bayes_cpt.plots import (
        plot_backtest,
        plot_calibration,
        plot_comparison,
        plot_curves,
        plot_decision,
        plot_forecast,
        plot_prior_predictive,
        write_figure,
    )
    from bayes_cpt.predictive import informed, predictive_check, prior_predictive
    from bayes_cpt.report import demo
    from bayes_cpt.schedules import constant, cosine, from_points, learning_rates, linear, wsd
    from bayes_cpt.simulate import pilot_runs
    from bayes_cpt.specs import Spec, model_names, read_spec

_HOMES = {
    "averaging": ("Average", "average", "fit_average", "load", "read_weights", "save"),
    "backtesting": ("Backtest", "backtest", "means", "read_scores", "verdict"),
    "calibration": ("Calibration", "calibrate"),
    "comparison": ("Comparison", "compare"),
    "curves": ("Curves", "curves_from_frames", "read_curves", "select", "write_curves"),
    "decisions": ("Decision", "answer", "at_most", "decide", "parse_limit", "parse_objective"),
    "errors": ("BayesCptError",),
    "forecasting": ("forecast", "read_points", "table"),
    "identification": ("curves_summary", "lineage_tree", "not_identified"),
    "inference": ("Fit", "Prepared", "fit", "prepare", "summary"),
    "knowledge": ("Annealed", "Pretrained", "stated", "with_history", "with_priors"),
    "plans": ("Plan", "plan", "read_plan", "resolve"),
    "plots": (
        "plot_backtest",
        "plot_calibration",
        "plot_comparison",
        "plot_curves",
        "plot_decision",
        "plot_forecast",
        "plot_prior_predictive",
        "write_figure",
    ),
    "predictive": ("informed", "predictive_check", "prior_predictive"),
    "report": ("demo",),
    "schedules": ("constant", "cosine", "from_points", "learning_rates", "linear", "wsd"),
    "simulate": ("pilot_runs",),
    "specs": ("Spec", "model_names", "read_spec"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Annealed",
    "Average",
    "Backtest",
    "BayesCptError",
    "Calibration",
    "Comparison",
    "Curves",
    "Decision",
    "Fit",
    "Plan",
    "Prepared",
    "Pretrained",
    "Spec",
    "answer",
    "at_most",
    "average",
    "backtest",
    "calibrate",
    "compare",
    "constant",
    "cosine",
    "curves_from_frames",
    "curves_summary",
    "decide",
    "demo",
    "fit",
    "fit_average",
    "forecast",
    "from_points",
    "informed",
    "learning_rates",
    "lineage_tree",
    "linear",
    "load",
    "means",
    "model_names",
    "not_identified",
    "parse_limit",
    "parse_objective",
    "pilot_runs",
    "plan",
    "plot_backtest",
    "plot_calibration",
    "plot_comparison",
    "plot_curves",
    "plot_decision",
    "plot_forecast",
    "plot_prior_predictive",
    "predictive_check",
    "prepare",
    "prior_predictive",
    "read_curves",
    "read_plan",
    "read_points",
    "read_scores",
    "read_spec",
    "read_weights",
    "resolve",
    "save",
    "select",
    "stated",
    "summary",
    "table",
    "verdict",
    "with_history",
    "with_priors",
    "write_curves",
    "write_figure",
    "wsd",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bayes_cpt' has no attribute {name!r}")
    return getattr(import_module(f"bayes_cpt.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
