"""Subcommands that hand results to others and take theirs: bundles and their checks."""
