"""iSAID-5i."""

from datamodules.datasets.isaid.incontext import IsaidPairs
from datamodules.datasets.isaid.index import Isaid, Isaid512
from datamodules.datasets.isaid.presence import IsaidAbsence

__all__ = ["Isaid", "Isaid512", "IsaidAbsence", "IsaidPairs"]
