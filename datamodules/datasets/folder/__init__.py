"""Anybody's folder of images and label maps."""

from fsbench.datamodules.datasets.folder.fscs import FolderAugmentation
from fsbench.datamodules.datasets.folder.index import Folder
from fsbench.datamodules.datasets.folder.presence import FolderAbsence

__all__ = ["Folder", "FolderAbsence", "FolderAugmentation"]
