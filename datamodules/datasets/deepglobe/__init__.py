"""DeepGlobe Land Cover 2018."""

from fsbench.datamodules.datasets.deepglobe.index import DeepGlobe

__all__ = ["DeepGlobe"]
