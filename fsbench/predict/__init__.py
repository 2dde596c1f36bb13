"""Masks of a user's images: a few labelled images show what to look for in others."""
