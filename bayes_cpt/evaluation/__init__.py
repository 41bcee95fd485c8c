"""Evaluation of forecasts of left-out runs: scores, backtests, comparison of models."""
