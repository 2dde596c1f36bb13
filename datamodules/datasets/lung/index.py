"""Chest X-rays with masks of the lungs (cd-fss-protocol §2.3)."""

from pathlib import Path
from typing import Literal

from fsbench.datamodules.indexes.binary_masks import ListedMasks, file_stem

IMAGES, MASKS = "CXR_png", "masks"


class Lung(ListedMasks):
    """Chest X-rays of Shenzhen, in the rule of DR-Adapter also of Montgomery, with masks of the lungs: one class.

    Args:
        root: Folder with `CXR_png/<id>.png` and `masks/<id>_mask.png`; or a folder that holds it as `LungSegmentation`.
        layout: Rule from a mask to its image: "patnet" takes the last nine characters off (IFA's and ABCDFSS's, too),
            which fits the 566 masks of Shenzhen alone; "dr_adapter" takes off `_mask` where it is, for all 704 masks.
            The two have other lists, and so other episodes.
    """

    name = "lung"
    class_names = ("lung",)
    classes_of_fold = 1

    def __init__(self, root: str, layout: Literal["patnet", "dr_adapter"] = "patnet"):
        given = Path(root).expanduser()
        inner = next((f for f in (given, given / "LungSegmentation") if (f / MASKS).is_dir()), given)
        self.layout = layout
        super().__init__(inner, [MASKS], "png")

    def image_path(self, name: str) -> Path:
        return self.root / image_name(name, self.layout)

    def label_file(self, name: str) -> Path:
        return self.root / name


def image_name(name: str, layout: str) -> str:
    """Return the image of a listed mask `masks/<file>` (cd-fss-protocol §2)."""
    file = name.rpartition("/")[2]
    stem = file_stem(file).replace("_mask", "") if layout == "dr_adapter" else file[:-9]
    return f"{IMAGES}/{stem}.png"
