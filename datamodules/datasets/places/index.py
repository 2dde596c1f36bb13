"""Places365-Standard, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.datamodules.indexes.class_folders import below_folders, class_folders, require_images, spoken
from fsbench.datamodules.indexes.labelled_images import LabelledImages


class Places(LabelledImages):
    """Places365-Standard: the first 200 training photos of each of the 365 folders."""

    name = "places"
    parts = ("train",)
    inner = ("places365_standard",)
    photos = "train"
    official = (365, 73_000)
    most = 200

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        folders = class_folders(self.folder)
        require_images(folders, self.folder)
        return below_folders(folders, spoken, self.most)
