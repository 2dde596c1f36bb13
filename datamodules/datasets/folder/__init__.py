"""Anybody's folder of images and label maps."""

from datamodules.datasets.folder.fscs import FolderAugmentation
from datamodules.datasets.folder.index import Folder

__all__ = ["Folder", "FolderAugmentation"]
