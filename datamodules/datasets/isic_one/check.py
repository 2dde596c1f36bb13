"""Check a folder of ISIC 2018 Task 1, which serves for one class as for three."""

from fsbench.datamodules.datasets.isic.check import check

__all__ = ["check"]
