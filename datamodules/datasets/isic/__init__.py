"""ISIC 2018 Task 1."""

from fsbench.datamodules.datasets.isic.index import Isic

__all__ = ["Isic"]
