"""CUB-200-2011."""

from fsbench.datamodules.datasets.cub.index import Cub

__all__ = ["Cub"]
