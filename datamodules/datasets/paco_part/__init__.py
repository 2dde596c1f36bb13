"""PACO-Part."""

from fsbench.datamodules.datasets.paco_part.incontext import PacoPartEpisodes
from fsbench.datamodules.datasets.paco_part.index import PacoPart

__all__ = ["PacoPart", "PacoPartEpisodes"]
