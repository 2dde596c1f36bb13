"""iSAID-5i: patches of aerial images, 15 classes in three folds (incontext-protocol §3.6)."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.indexes.mask_folder import MaskFolder
from datamodules.indexes.official import OfficialIndex
from datamodules.lists.official import default_lists
from fsbench.data.dataset import PairList, Part, QuerySampling
from fsbench.data.source import missing
from fsbench.errors import DataError, SettingsError

CLASS_NAMES = (
    "ship", "storage tank", "baseball diamond", "tennis court", "basketball court", "ground track field", "bridge",
    "large vehicle", "small vehicle", "helicopter", "swimming pool", "roundabout", "soccer ball field", "plane",
    "harbor",
)  # fmt: skip
PARTS = ("val/images", "val/semantic_png")
INNER_FOLDERS = ("iSAID_patches", "remote_sensing/iSAID_patches")
"""Folders below `root` that the authors' may be."""
LABEL_SUFFIX = "_instance_color_RGB.png"
"""End of a label map's name, after its patch's."""


class Isaid(OfficialIndex, MaskFolder):
    """iSAID-5i. Fold f tests classes 5f+1 to 5f+5; a name is that of a patch of 256 x 256 pixels. Only the part for the
    test is known, so methods are tested without training.

    Args:
        root: Folder with `val/images/<name>.png` and `val/semantic_png/<name>_instance_color_RGB.png`, whose values are
            the class numbers, 255 for void; or a folder that holds it as `iSAID_patches`.
        lists: Folders with the authors' lists as `isaid/val/fold{0,1,2}.txt`. None takes the folder `lists` in `root`
            where there is one. Lists that are derived from the label maps have another order, which makes other
            episodes.
        allow_unverified_lists: Use lists whose checksum is not the official one; the record says so.
    """

    name = "isaid"
    class_names = CLASS_NAMES
    folds = 3
    classes_of_fold = 5
    has_published_protocol = True
    query_sampling: QuerySampling = "sequential"

    def __init__(self, root: str, lists: list[str] | None = None, allow_unverified_lists: bool = False):
        given = Path(root).expanduser()
        folders = (given, *(given / inner for inner in INNER_FOLDERS))
        self.root = next((folder for folder in folders if all((folder / part).is_dir() for part in PARTS)), given)
        self.lists = default_lists(lists, given, self.root)
        self.allow_unverified_lists = allow_unverified_lists
        absent = [part for part in PARTS if not (self.root / part).is_dir()]
        if absent:
            raise missing(f"{root} has no {' and no '.join(absent)}; expected {' and '.join(PARTS)}", __package__)
        images, labels = (self.root / part for part in PARTS)
        super().__init__(images, labels, range(1, len(CLASS_NAMES) + 1))

    def test_classes(self, fold: int) -> list[int]:
        self.check_fold(fold)
        first = 5 * fold + 1
        return list(range(first, first + 5))

    def candidates(self, part: Part) -> Sequence[str]:
        """Return all patches, names ascending."""
        if part != "val":
            raise SettingsError(
                f"isaid has its test part alone; found the part {part}; test a method that is not trained, or give a "
                "checkpoint"
            )
        names = self.label_names()
        self.require_files(names, self.label_folder)
        return names

    def label_names(self) -> list[str]:
        """Names of the patches of all label maps, ascending."""
        files = (path.name for path in self.label_folder.iterdir())
        return sorted(name.removesuffix(LABEL_SUFFIX) for name in files if name.endswith(LABEL_SUFFIX))

    def label_file(self, name: str) -> Path:
        return self.label_folder / f"{name}{LABEL_SUFFIX}"

    def check_released(self, pairs: PairList, split: str, fold: int) -> None:
        source = f"the official list {split}/fold{fold}"
        foreign = set(pairs.images_of).difference(self.test_classes(fold))
        if foreign:
            expected = ", ".join(map(self.name_of, self.test_classes(fold)))
            raise DataError(f"{source} has the class {self.name_of(min(foreign))}; expected {expected}")
        self.require_files([name for name, _ in pairs.pairs], source)
