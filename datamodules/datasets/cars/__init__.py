"""Stanford Cars."""

from datamodules.datasets.cars.index import Cars

__all__ = ["Cars"]
