"""Prepare ISIC 2018 Task 1, whose folder serves for one class as for three."""

from fsbench.datamodules.datasets.isic.prepare import prepare

__all__ = ["prepare"]
