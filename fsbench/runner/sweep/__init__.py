"""Sweeps: W&B's own sweep files, searched on this machine without an account or a network."""
