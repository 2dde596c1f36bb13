"""Simulation of the intervals and tests: data sets with a known truth, and how often the procedure says what holds."""
