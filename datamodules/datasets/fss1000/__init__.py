"""FSS-1000."""

from fsbench.datamodules.datasets.fss1000.index import Fss1000
from fsbench.datamodules.datasets.fss1000.pfenet import NoImages

__all__ = ["Fss1000", "NoImages"]
