"""DeepGlobe Land Cover 2018: crops of satellite images, six classes (cd-fss-protocol §2.1)."""

from pathlib import Path
from typing import Literal

from fsbench.datamodules.indexes.binary_masks import ListedMasks, file_stem

CLASS_NAMES = ("agriculture", "urban", "rangeland", "forest", "water", "barren")
INNER_FOLDERS = ("Deepglobe", "Deepglobe/04_train_cat", "04_train_cat")
"""Folders below `root` that the authors' may be."""


class DeepGlobe(ListedMasks):
    """DeepGlobe in the crops of PATNet's authors: a class has a folder, a crop is in those of all of its classes.

    Args:
        root: Folder with `<1 to 6>/test/origin/<id>.jpg` and `<1 to 6>/test/groundtruth/<id>.png`; or a folder that
            holds it as `Deepglobe` or `Deepglobe/04_train_cat`.
        layout: "patnet", where image and mask have one stem (also DR-Adapter's, ABCDFSS's and GF-SAM's folders), or
            "ifa", where they are `<id>_sat_<ij>.jpg` and `<id>_mask_<ij>.png`.
    """

    name = "deepglobe"
    class_names = CLASS_NAMES
    classes_of_fold = len(CLASS_NAMES)

    def __init__(self, root: str, layout: Literal["patnet", "ifa"] = "patnet"):
        given = Path(root).expanduser()
        folders = (given, *(given / inner for inner in INNER_FOLDERS))
        inner = next((folder for folder in folders if (folder / "1/test/origin").is_dir()), given)
        self.layout = layout
        super().__init__(inner, [f"{number}/test/origin" for number in range(1, len(CLASS_NAMES) + 1)], "jpg")

    def image_path(self, name: str) -> Path:
        return self.root / name

    def label_file(self, name: str) -> Path:
        return self.root / mask_name(name, self.layout)


def mask_name(name: str, layout: str) -> str:
    """Return the mask of a listed crop `<class>/test/origin/<file>` (cd-fss-protocol §2)."""
    folder, _, file = name.rpartition("/origin/")
    stem = f"{file[:-11]}_mask_{file[-6:-4]}" if layout == "ifa" else file_stem(file)
    return f"{folder}/groundtruth/{stem}.png"
