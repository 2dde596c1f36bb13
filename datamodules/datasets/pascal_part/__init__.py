"""PASCAL-Part."""

from datamodules.datasets.pascal_part.index import PascalPart

__all__ = ["PascalPart"]
