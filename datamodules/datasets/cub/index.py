"""CUB-200-2011, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.datamodules.indexes.class_folders import below_folders, class_folders, require_images, spoken
from fsbench.datamodules.indexes.labelled_images import LabelledImages


class Cub(LabelledImages):
    """CUB-200-2011: all photos, the 200 folders of `images` as classes."""

    name = "cub"
    parts = ("images",)
    inner = ("CUB_200_2011",)
    photos = "images"
    official = (200, 11_788)

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        folders = class_folders(self.folder)
        require_images(folders, self.folder)
        return below_folders(folders, lambda name: spoken(name.rpartition(".")[2]))
