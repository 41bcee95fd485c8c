"""What was run and what may be run: learning-rate schedules, curve folders, lineages, plans."""
