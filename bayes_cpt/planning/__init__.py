"""Runs that have not been run: learning-rate schedules, and plans of one run or a grid of them."""
