"""Bayesian scaling laws for continual pre-training: forecasts with intervals, decisions under risk.

Names load what they need on first use: PyMC, JAX and matplotlib cost seconds, and reading curves needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayes_cpt._support.shipped import shipped
    from bayes_cpt.calibration.calibrate import Calibration, calibrate
    from bayes_cpt.decisions.answers import answer, judge, judgement
    from bayes_cpt.decisions.choose import Decision, decide
    from bayes_cpt.decisions.front import front
    from bayes_cpt.decisions.limits import at_most, parse_limit
    from bayes_cpt.decisions.objectives import parse_objective
    from bayes_cpt.decisions.risk import RISKS, Risk
    from bayes_cpt.decisions.sensitivity import sensitivity
    from bayes_cpt.demonstration import demo
    from bayes_cpt.errors import BayesCptError, PlausibilityWarning
    from bayes_cpt.evaluation.backtest import Backtest, backtest
    from bayes_cpt.evaluation.compare import Comparison, compare
    from bayes_cpt.evaluation.in_words import in_words
    from bayes_cpt.evaluation.informed import informed, summary
    from bayes_cpt.evaluation.left_out_scales import learn_scales
    from bayes_cpt.evaluation.scores import read_scores
    from bayes_cpt.evaluation.verdict import means, verdict
    from bayes_cpt.forecasting.forecast import forecast, forecast_ends
    from bayes_cpt.forecasting.forecast_table import read_points, table
    from bayes_cpt.forecasting.predictive_checks import predictive_check, prior_predictive
    from bayes_cpt.forecasting.whole_curves import whole_curve_interval
    from bayes_cpt.inference.average import Average, average, fit_average, read_weights
    from bayes_cpt.inference.fit import Fit, Prepared, fit, prepare
    from bayes_cpt.inference.settings import SamplerSettings
    from bayes_cpt.inference.storage import load, save
    from bayes_cpt.laws.law import Law, Term
    from bayes_cpt.laws.memory_kernels import MEMORY_KERNELS, MemoryKernel
    from bayes_cpt.laws.shipped_laws import LAWS
    from bayes_cpt.planning.nearby_plans import nearby
    from bayes_cpt.planning.plans import Plan, plan, read_plan, resolve
    from bayes_cpt.planning.schedules import constant, cosine, from_points, learning_rates, linear, wsd
    from bayes_cpt.plausibility.checks import CHECKS, findings, vetted
    from bayes_cpt.plausibility.findings import Finding
    from bayes_cpt.plots.backtests import plot_backtest
    from bayes_cpt.plots.calibration import plot_calibration
    from bayes_cpt.plots.comparison import plot_comparison
    from bayes_cpt.plots.curves import plot_curves
    from bayes_cpt.plots.decisions import plot_decision
    from bayes_cpt.plots.forecasts import plot_forecast, plot_prior_predictive
    from bayes_cpt.plots.style import write_figure
    from bayes_cpt.plots.trade_offs import plot_front, plot_sensitivity
    from bayes_cpt.runs.curve_folder import curves_from_frames, read_curves, write_curves
    from bayes_cpt.runs.curves import Curves, select
    from bayes_cpt.runs.identifiability import curves_summary, lineage_tree, not_identified
    from bayes_cpt.simulation.simulate import pilot_runs
    from bayes_cpt.statistical_model.discrepancy import COMPONENTS, Component
    from bayes_cpt.statistical_model.model_files import ModelSpec, Spec, model_names, read_spec
    from bayes_cpt.statistical_model.observations import what_fit_says
    from bayes_cpt.statistical_model.stated_priors import Annealed, Pretrained, stated, with_history, with_priors

_HOMES = {
    "_support.shipped": ("shipped",),
    "calibration.calibrate": ("Calibration", "calibrate"),
    "decisions.answers": ("answer", "judge", "judgement"),
    "decisions.choose": ("Decision", "decide"),
    "decisions.front": ("front",),
    "decisions.limits": ("at_most", "parse_limit"),
    "decisions.objectives": ("parse_objective",),
    "decisions.risk": ("RISKS", "Risk"),
    "decisions.sensitivity": ("sensitivity",),
    "demonstration": ("demo",),
    "errors": ("BayesCptError", "PlausibilityWarning"),
    "evaluation.backtest": ("Backtest", "backtest"),
    "evaluation.compare": ("Comparison", "compare"),
    "evaluation.in_words": ("in_words",),
    "evaluation.informed": ("informed", "summary"),
    "evaluation.left_out_scales": ("learn_scales",),
    "evaluation.scores": ("read_scores",),
    "evaluation.verdict": ("means", "verdict"),
    "forecasting.forecast": ("forecast", "forecast_ends"),
    "forecasting.predictive_checks": ("predictive_check", "prior_predictive"),
    "forecasting.whole_curves": ("whole_curve_interval",),
    "forecasting.forecast_table": ("read_points", "table"),
    "inference.average": ("Average", "average", "fit_average", "read_weights"),
    "inference.settings": ("SamplerSettings",),
    "inference.storage": ("load", "save"),
    "inference.fit": ("Fit", "Prepared", "fit", "prepare"),
    "laws.law": ("Law", "Term"),
    "laws.memory_kernels": ("MEMORY_KERNELS", "MemoryKernel"),
    "laws.shipped_laws": ("LAWS",),
    "simulation.simulate": ("pilot_runs",),
    "plausibility.checks": ("CHECKS", "findings", "vetted"),
    "plausibility.findings": ("Finding",),
    "plots.backtests": ("plot_backtest",),
    "plots.calibration": ("plot_calibration",),
    "plots.comparison": ("plot_comparison",),
    "plots.curves": ("plot_curves",),
    "plots.decisions": ("plot_decision",),
    "plots.forecasts": ("plot_forecast", "plot_prior_predictive"),
    "plots.style": ("write_figure",),
    "plots.trade_offs": ("plot_front", "plot_sensitivity"),
    "runs.identifiability": ("curves_summary", "lineage_tree", "not_identified"),
    "runs.curve_folder": ("curves_from_frames", "read_curves", "write_curves"),
    "runs.curves": ("Curves", "select"),
    "planning.nearby_plans": ("nearby",),
    "planning.plans": ("Plan", "plan", "read_plan", "resolve"),
    "planning.schedules": ("constant", "cosine", "from_points", "learning_rates", "linear", "wsd"),
    "statistical_model.discrepancy": ("COMPONENTS", "Component"),
    "statistical_model.model_files": ("ModelSpec", "Spec", "model_names", "read_spec"),
    "statistical_model.observations": ("what_fit_says",),
    "statistical_model.stated_priors": ("Annealed", "Pretrained", "stated", "with_history", "with_priors"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CHECKS",
    "COMPONENTS",
    "LAWS",
    "MEMORY_KERNELS",
    "RISKS",
    "Annealed",
    "Average",
    "Backtest",
    "BayesCptError",
    "Calibration",
    "Comparison",
    "Component",
    "Curves",
    "Decision",
    "Finding",
    "Fit",
    "Law",
    "MemoryKernel",
    "ModelSpec",
    "Plan",
    "PlausibilityWarning",
    "Prepared",
    "Pretrained",
    "Risk",
    "SamplerSettings",
    "Spec",
    "Term",
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
    "findings",
    "fit",
    "fit_average",
    "forecast",
    "forecast_ends",
    "from_points",
    "front",
    "in_words",
    "informed",
    "judge",
    "judgement",
    "learn_scales",
    "learning_rates",
    "lineage_tree",
    "linear",
    "load",
    "means",
    "model_names",
    "nearby",
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
    "plot_front",
    "plot_prior_predictive",
    "plot_sensitivity",
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
    "sensitivity",
    "shipped",
    "stated",
    "summary",
    "table",
    "verdict",
    "vetted",
    "what_fit_says",
    "whole_curve_interval",
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
