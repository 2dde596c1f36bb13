"""Oxford-IIIT Pet."""

from fsbench.datamodules.datasets.pets.index import Pets

__all__ = ["Pets"]
