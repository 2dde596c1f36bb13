"""Stanford Cars."""

from fsbench.datamodules.datasets.cars.index import Cars

__all__ = ["Cars"]
