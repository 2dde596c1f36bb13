"""PASCAL-Part."""

from datamodules.datasets.pascal_part.incontext import PascalPartEpisodes
from datamodules.datasets.pascal_part.index import PascalPart

__all__ = ["PascalPart", "PascalPartEpisodes"]
