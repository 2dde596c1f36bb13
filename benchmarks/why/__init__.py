"""Simulation of `fsbench why`: disputes with a hidden cause, and how often it is named."""
