"""Figures, one file per subject. Each function takes a result and returns a Matplotlib figure."""
