"""COCO-20i."""

from fsbench.datamodules.datasets.coco.fscs import CocoAugmentation
from fsbench.datamodules.datasets.coco.fss_sam3 import CocoBoxes
from fsbench.datamodules.datasets.coco.fssdino import CocoTest
from fsbench.datamodules.datasets.coco.gfss import CocoValidation
from fsbench.datamodules.datasets.coco.index import Coco
from fsbench.datamodules.datasets.coco.pfenet import CocoImages
from fsbench.datamodules.datasets.coco.presence import CocoAbsence

__all__ = ["Coco", "CocoAbsence", "CocoAugmentation", "CocoBoxes", "CocoImages", "CocoTest", "CocoValidation"]
