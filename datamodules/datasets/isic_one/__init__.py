"""ISIC 2018 Task 1 as one class."""

from fsbench.datamodules.datasets.isic_one.index import IsicOne

__all__ = ["IsicOne"]
