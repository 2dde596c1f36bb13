"""PASCAL-5i: VOC 2012 with the SBD label maps."""

from datamodules.datasets.pascal.index import Pascal
from datamodules.datasets.pascal.pfenet import PascalImages

__all__ = ["Pascal", "PascalImages"]
