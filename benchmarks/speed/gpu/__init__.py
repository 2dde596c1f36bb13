"""Ops, methods and frozen networks timed on one GPU, after every test marked cuda."""
