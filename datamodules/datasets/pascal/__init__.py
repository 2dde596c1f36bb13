"""PASCAL-5i: VOC 2012 with the SBD label maps."""

from datamodules.datasets.pascal.all_classes import PascalAll
from datamodules.datasets.pascal.fss_sam3 import PascalBoxes
from datamodules.datasets.pascal.index import Pascal
from datamodules.datasets.pascal.pfenet import PascalImages

__all__ = ["Pascal", "PascalAll", "PascalBoxes", "PascalImages"]
