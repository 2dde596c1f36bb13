"""SUIM."""

from fsbench.datamodules.datasets.suim.index import Suim

__all__ = ["Suim"]
