"""The 80 classes of COCO in one test."""

import datamodules.datasets.coco_all.protocols  # noqa: F401 (registers)
from datamodules.datasets.coco_all.index import CocoAll

__all__ = ["CocoAll"]
