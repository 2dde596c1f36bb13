"""LVIS-92i."""

from fsbench.datamodules.datasets.lvis.incontext import LvisEpisodes
from fsbench.datamodules.datasets.lvis.index import Lvis
from fsbench.datamodules.datasets.lvis.presence import LvisAbsence
from fsbench.datamodules.datasets.lvis.segic import LvisProgramEpisodes

__all__ = ["Lvis", "LvisAbsence", "LvisEpisodes", "LvisProgramEpisodes"]
