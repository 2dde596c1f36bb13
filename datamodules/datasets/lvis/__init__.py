"""LVIS-92i."""

from datamodules.datasets.lvis.index import Lvis

__all__ = ["Lvis"]
