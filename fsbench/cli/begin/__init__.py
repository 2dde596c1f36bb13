"""Subcommands of the first hour: is everything there, and a first run."""
