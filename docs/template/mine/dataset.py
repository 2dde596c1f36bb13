"""Images with label maps, each as a PNG of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.dataset import Part, SegmentationData
from fsbench.data.image_io import read_label_map


class MyImages(SegmentationData):
    """Images in the folder `images` of `root`, and their label maps of the same names in the folder `masks`.

    Args:
        root: folder of the data set.
    """

    name = "my_images"
    class_names = ("disc", "square", "cross", "stripes")  # of classes 1, 2, … in the label maps
    folds = 2
    classes_of_fold = 2
    turns_images = True  # as their EXIF entries say; read_label_map brings label maps into the same form

    def __init__(self, root: str = "data/my_images"):
        self.root = Path(root).expanduser()
        if not (self.root / "masks").is_dir():
            raise DataError(f"{self.root} has no folder masks, expected the data set my_images; correct its root")

    def test_classes(self, fold: int) -> list[int]:
        """Return the novel classes of a fold; the others are trained on."""
        self.check_fold(fold)
        return [2 * fold + 1, 2 * fold + 2]

    def candidates(self, part: Part) -> Sequence[str]:
        """Return the names of the images of training ("trn") or test ("val")."""
        return sorted(path.stem for path in (self.root / "masks").glob(f"{'trn' if part == 'trn' else 'val'}*.png"))

    def image_path(self, name: str) -> Path:
        return self.root / "images" / f"{name}.png"

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: 0 background, class numbers, 255 void."""
        file = self.root / "masks" / f"{name}.png"
        return read_label_map(file, photo=self.image_path(name))
