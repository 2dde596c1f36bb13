"""PASCAL-5i and PASCAL-10i: VOC 2012 with the SBD label maps."""

from datamodules.datasets.pascal.all_classes import PascalAll
from datamodules.datasets.pascal.fss_sam3 import PascalBoxes
from datamodules.datasets.pascal.gfss import PascalValidation
from datamodules.datasets.pascal.index import Pascal, Pascal10
from datamodules.datasets.pascal.pfenet import PascalImages
from datamodules.datasets.pascal.presence import PascalAbsence

__all__ = ["Pascal", "Pascal10", "PascalAbsence", "PascalAll", "PascalBoxes", "PascalImages", "PascalValidation"]
