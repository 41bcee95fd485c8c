"""Simulation-based calibration: check the posteriors of a model on losses simulated from its own prior."""
