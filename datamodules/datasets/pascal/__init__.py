"""PASCAL-5i and PASCAL-10i: VOC 2012 with the SBD label maps."""

from fsbench.datamodules.datasets.pascal.all_classes import PascalAll
from fsbench.datamodules.datasets.pascal.fss_sam3 import PascalBoxes
from fsbench.datamodules.datasets.pascal.gfss import PascalValidation
from fsbench.datamodules.datasets.pascal.index import Pascal, Pascal10
from fsbench.datamodules.datasets.pascal.pfenet import PascalImages
from fsbench.datamodules.datasets.pascal.presence import PascalAbsence

__all__ = ["Pascal", "Pascal10", "PascalAbsence", "PascalAll", "PascalBoxes", "PascalImages", "PascalValidation"]
