"""Decisions under risk: which candidate run to start, given draws of its forecast. Independent of any model."""
