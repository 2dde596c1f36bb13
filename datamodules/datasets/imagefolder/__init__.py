"""Anybody's folder with a folder of images for each class."""

from fsbench.datamodules.datasets.imagefolder.index import ImageFolder

__all__ = ["ImageFolder"]
