"""Curves of known coefficients: those published, and losses simulated from any."""
