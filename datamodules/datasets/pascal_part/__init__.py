"""PASCAL-Part."""

from fsbench.datamodules.datasets.pascal_part.incontext import PascalPartEpisodes
from fsbench.datamodules.datasets.pascal_part.index import PascalPart
from fsbench.datamodules.datasets.pascal_part.presence import PascalPartAbsence

__all__ = ["PascalPart", "PascalPartAbsence", "PascalPartEpisodes"]
