"""Runs: their configuration, training and evaluation, many of them, and what is checked about them."""
