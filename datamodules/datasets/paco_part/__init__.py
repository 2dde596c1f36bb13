"""PACO-Part."""

from datamodules.datasets.paco_part.incontext import PacoPartEpisodes
from datamodules.datasets.paco_part.index import PacoPart

__all__ = ["PacoPart", "PacoPartEpisodes"]
