"""FGVC-Aircraft."""

from datamodules.datasets.aircraft.index import Aircraft

__all__ = ["Aircraft"]
