"""iSAID-5i."""

from fsbench.datamodules.datasets.isaid.incontext import IsaidPairs
from fsbench.datamodules.datasets.isaid.index import Isaid, Isaid512
from fsbench.datamodules.datasets.isaid.presence import IsaidAbsence

__all__ = ["Isaid", "Isaid512", "IsaidAbsence", "IsaidPairs"]
