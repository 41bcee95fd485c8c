"""Measured and planned runs: learning-rate schedules, curve folders, lineages, plans."""
