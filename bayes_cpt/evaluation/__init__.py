"""How good forecasts of left-out runs are: scores, backtests, comparison of models."""
