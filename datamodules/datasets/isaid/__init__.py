"""iSAID-5i."""

from datamodules.datasets.isaid.incontext import IsaidPairs
from datamodules.datasets.isaid.index import Isaid, Isaid512

__all__ = ["Isaid", "Isaid512", "IsaidPairs"]
