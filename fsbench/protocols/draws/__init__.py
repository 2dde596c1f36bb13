"""Draws: one file a family of official lists, with the source of its order."""
