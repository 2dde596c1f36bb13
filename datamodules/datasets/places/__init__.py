"""Places365-Standard."""

from datamodules.datasets.places.index import Places

__all__ = ["Places"]
