"""Forecasts: posterior predictive loss curves of planned runs."""
