"""DeepGlobe Land Cover 2018 with all of its crops."""

from fsbench.datamodules.datasets.deepglobe_all.index import DeepGlobeAll

__all__ = ["DeepGlobeAll"]
