"""Oxford-IIIT Pet."""

from datamodules.datasets.pets.index import Pets

__all__ = ["Pets"]
