"""Causes of the distance between a claimed figure and a run's own, each counted again from the run's predictions."""
