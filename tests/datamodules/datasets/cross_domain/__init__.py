"""Data sets of other domains."""
