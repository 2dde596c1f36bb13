"""LVIS-92i."""

from datamodules.datasets.lvis.incontext import LvisEpisodes
from datamodules.datasets.lvis.index import Lvis
from datamodules.datasets.lvis.presence import LvisAbsence

__all__ = ["Lvis", "LvisAbsence", "LvisEpisodes"]
