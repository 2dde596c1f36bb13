"""Chest X-rays of both hospitals with masks of the lungs."""

from fsbench.datamodules.datasets.lung_all.index import LungAll

__all__ = ["LungAll"]
