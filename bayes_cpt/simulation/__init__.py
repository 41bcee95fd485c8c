"""Curves with known coefficients: published coefficients, and simulated losses."""
