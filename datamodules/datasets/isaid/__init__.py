"""iSAID-5i."""

from datamodules.datasets.isaid.incontext import IsaidPairs
from datamodules.datasets.isaid.index import Isaid

__all__ = ["Isaid", "IsaidPairs"]
