"""FSS-1000."""

from datamodules.datasets.fss1000.index import Fss1000

__all__ = ["Fss1000"]
