"""The 80 classes of COCO in one test."""

from datamodules.datasets.coco_all.index import CocoAll

__all__ = ["CocoAll"]
