"""Subcommands for who adds a method or a data set of their own."""
