"""Helpers for all wings: array types, atomic file writing, paths of shipped files."""
