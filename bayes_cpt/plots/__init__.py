"""Figures: one file a subject. Each function takes a result and returns a Matplotlib figure."""
