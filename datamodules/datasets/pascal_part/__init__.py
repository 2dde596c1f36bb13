"""PASCAL-Part."""

from datamodules.datasets.pascal_part.incontext import PascalPartEpisodes
from datamodules.datasets.pascal_part.index import PascalPart
from datamodules.datasets.pascal_part.presence import PascalPartAbsence

__all__ = ["PascalPart", "PascalPartAbsence", "PascalPartEpisodes"]
