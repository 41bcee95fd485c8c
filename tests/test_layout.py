"""Tests lie where their modules do, so that the tests of a module are found at once."""

from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "bayes_cpt"

COVERED_BY: dict[str, str] = {
    "_support.interpolation": "laws/test_memory_kernels.py",
    "_support.progress": "test_progress.py",
    "_support.registry": "test_extend.py",
    "_support.files": "runs/test_curves.py",
    "_support.shipped": "statistical_model/test_model_files.py",
    "_support.typing": "test_imports.py",
    "calibration.uniformity": "calibration/test_calibrate.py",
    "cli.commands": "test_cli.py",
    "cli.decisions": "test_cli.py",
    "cli.inputs": "test_cli.py",
    "cli.left_out": "evaluation/test_left_out_scales.py",
    "cli.main": "test_cli.py",
    "cli.options": "test_cli.py",
    "cli.output": "test_cli.py",
    "decisions.words": "decisions/test_choose.py",
    "demonstration": "test_cli.py",
    "errors": "test_imports.py",
    "evaluation.meanings": "evaluation/test_in_words.py",
    "posterior.data_groups": "inference/test_fit.py",
    "inference.settings": "inference/test_sampling.py",
    "laws.final_losses": "laws/test_laws.py",
    "laws.law": "laws/test_laws.py",
    "laws.open_checkpoints": "laws/test_laws.py",
    "laws.shipped_laws": "laws/test_laws.py",
    "laws.replay": "laws/test_laws.py",
    "laws.terms": "laws/test_laws.py",
    "plausibility.checkpoints": "plausibility/test_checks.py",
    "plausibility.findings": "plausibility/test_findings_as_values.py",
    "plausibility.learning_rates": "plausibility/test_checks.py",
    "plausibility.losses": "plausibility/test_checks.py",
    "plausibility.steps": "plausibility/test_checks.py",
    "plausibility.units": "plausibility/test_checks.py",
    "posterior.low_rank_op": "statistical_model/test_discrepancy.py",
    "posterior.parameters": "posterior/test_density.py",
    "plots.backtests": "evaluation/test_backtest.py",
    "plots.calibration": "calibration/test_calibrate.py",
    "plots.comparison": "evaluation/test_compare.py",
    "plots.curves": "plots/test_plots.py",
    "plots.decisions": "plots/test_plots.py",
    "plots.forecasts": "plots/test_plots.py",
    "plots.style": "plots/test_plots.py",
    "plots.trade_offs": "plots/test_plots.py",
    "runs.curve_folder": "runs/test_curves.py",
    "runs.holdout": "evaluation/test_backtest.py",
    "runs.lineage": "runs/test_curves.py",
    "runs.schedule_checks": "planning/test_schedules.py",
    "simulation.published": "paper/test_findings.py",
    "statistical_model.effect_draws": "statistical_model/test_discrepancy.py",
    "statistical_model.likelihood": "statistical_model/test_discrepancy.py",
    "statistical_model.low_rank_gaussian": "statistical_model/test_discrepancy.py",
}
"""Modules without a test file of their name, and where their tests are."""


def test_each_module_has_a_test_file_of_its_name_or_is_listed():
    modules = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    mirrored = {path for path in modules if (TESTS / path.parent / f"test_{path.name}").is_file()}
    others = {".".join(path.with_suffix("").parts) for path in modules - mirrored}
    assert others == set(COVERED_BY), "write a test file of the module's name, or list the one that covers it"
    assert all((TESTS / file).is_file() for file in COVERED_BY.values())


def test_test_files_lie_in_folders_of_the_package():
    folders = {path.parent.name for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    assert folders - {"paper"} <= {path.name for path in PACKAGE.iterdir()}
