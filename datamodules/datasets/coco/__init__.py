"""COCO-20i."""

from datamodules.datasets.coco.fscs import CocoAugmentation
from datamodules.datasets.coco.fss_sam3 import CocoBoxes
from datamodules.datasets.coco.fssdino import CocoTest
from datamodules.datasets.coco.gfss import CocoValidation
from datamodules.datasets.coco.index import Coco
from datamodules.datasets.coco.pfenet import CocoImages
from datamodules.datasets.coco.presence import CocoAbsence

__all__ = ["Coco", "CocoAbsence", "CocoAugmentation", "CocoBoxes", "CocoImages", "CocoTest", "CocoValidation"]
