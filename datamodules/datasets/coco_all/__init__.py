"""The 80 classes of COCO in one test."""

import fsbench.datamodules.datasets.coco_all.protocols  # noqa: F401 (registers)
from fsbench.datamodules.datasets.coco_all.index import CocoAll

__all__ = ["CocoAll"]
