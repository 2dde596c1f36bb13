"""Figures that papers report: read, matched with runs, and whatever keeps the two from being comparable."""
