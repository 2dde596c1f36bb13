"""The plants of iNaturalist 2018."""

from fsbench.datamodules.datasets.plantae.index import Plantae

__all__ = ["Plantae"]
