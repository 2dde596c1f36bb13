"""COCO-20i."""

from datamodules.datasets.coco.index import Coco

__all__ = ["Coco"]
