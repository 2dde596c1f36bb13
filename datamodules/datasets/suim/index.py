"""SUIM: underwater images, seven classes (cd-fss-protocol §2.5)."""

from collections.abc import Mapping
from pathlib import Path

from fsbench.datamodules.indexes.binary_masks import ListedMasks, file_stem

IMAGES, MASKS = "images", "masks"
CLASS_NAMES = {
    "FV": "fish and vertebrates", "HD": "human divers", "PF": "plants", "RI": "reefs and invertebrates",
    "RO": "robots", "SR": "sea floor and rocks", "WR": "wrecks",
}  # fmt: skip
"""Folder of a class -> its name, in the order of the classes."""


class Suim(ListedMasks):
    """SUIM, its training and its test part merged, with a folder of masks for each class.

    A mask without a foreground pixel at full size is not listed, so all masks are opened once.

    Args:
        root: Folder with `images/<id>.jpg` and `masks/<FV, HD, PF, RI, RO, SR, WR>/<id>.<ext>`; or one that holds it as
            `SUIM`.
    """

    name = "suim"
    class_names = tuple(CLASS_NAMES.values())
    classes_of_fold = len(CLASS_NAMES)

    def __init__(self, root: str):
        given = Path(root).expanduser()
        inner = next((folder for folder in (given, given / "SUIM") if (folder / MASKS).is_dir()), given)
        super().__init__(inner, [f"{MASKS}/{folder}" for folder in CLASS_NAMES], "")

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """List the masks of every class that have foreground."""
        every = super().list_names()
        self._number_of = {name: number for number, names in every.items() for name in names}
        self.count_pixels("val", [name for names in every.values() for name in names])
        return {
            number: tuple(name for name in names if self.class_pixels(name)[0].get(number))
            for number, names in every.items()
        }

    def image_path(self, name: str) -> Path:
        return self.root / image_name(name)

    def label_file(self, name: str) -> Path:
        return self.root / name


def image_name(name: str) -> str:
    """Return the image of a listed mask (cd-fss-protocol §2)."""
    return f"{IMAGES}/{file_stem(name)}.jpg"
