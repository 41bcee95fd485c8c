"""Bayesian scaling laws for continual pre-training: forecasts with intervals, decisions under risk."""
