"""FGVC-Aircraft."""

from fsbench.datamodules.datasets.aircraft.index import Aircraft

__all__ = ["Aircraft"]
