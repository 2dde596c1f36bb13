"""DeepGlobe Land Cover 2018."""

from datamodules.datasets.deepglobe.index import DeepGlobe

__all__ = ["DeepGlobe"]
