"""Subcommands for what a run starts from: data, weights, checkpoints, lists of episodes."""
