"""Places365-Standard."""

from fsbench.datamodules.datasets.places.index import Places

__all__ = ["Places"]
