"""LVIS-92i."""

from datamodules.datasets.lvis.incontext import LvisEpisodes
from datamodules.datasets.lvis.index import Lvis

__all__ = ["Lvis", "LvisEpisodes"]
