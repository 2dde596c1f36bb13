"""iSAID-5i."""

from datamodules.datasets.isaid.index import Isaid

__all__ = ["Isaid"]
