"""COCO-20i, and the 80 classes of COCO in one test."""

from fsbench.datamodules.datasets.coco.dataset import Coco, CocoAll
from fsbench.datamodules.datasets.coco.protocols import (
    CocoAbsence,
    CocoAugmentedSettings,
    CocoBoxes,
    CocoImages,
    CocoTest,
    CocoValidation,
)

__all__ = [
    "Coco",
    "CocoAbsence",
    "CocoAll",
    "CocoAugmentedSettings",
    "CocoBoxes",
    "CocoImages",
    "CocoTest",
    "CocoValidation",
]
