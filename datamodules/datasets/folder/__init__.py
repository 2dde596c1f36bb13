"""Anybody's folder of images and label maps."""

from datamodules.datasets.folder.fscs import FolderAugmentation
from datamodules.datasets.folder.index import Folder
from datamodules.datasets.folder.presence import FolderAbsence

__all__ = ["Folder", "FolderAbsence", "FolderAugmentation"]
