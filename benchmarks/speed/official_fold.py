"""One fold of the official lists as a data set, whose images are drawn under the official names.

So images repeat as they really do, and are decoded as large as they really are, on a machine without the data sets.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from fsbench.data.dataset import PairList, Part, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.datamodules.lists.official import read_official
from fsbench.protocols.episode_rules.pair_lists import pair_list
from fsbench.protocols.reading import load_segmentation

USUAL_SIZE = {"pascal": (375, 500), "coco": (480, 640)}
"""Height and width in pixels of most images of a data set."""


class OfficialFold(SegmentationData):
    """Index of one fold's official test list.

    Args:
        lists: folder of official lists (`<dataset>/val/fold<f>`).
        dataset: "pascal" or "coco".
        fold: the fold.
        drawn: empty folder for the images, each drawn when it is first asked for; without it no image can be opened.
    """

    class_names = tuple(map(str, range(1, 81)))
    folds = 4

    def __init__(self, lists: str, dataset: str, fold: int, drawn: Path | None = None):
        self.lists, self.fold, self.drawn = lists, fold, drawn
        self.name = dataset
        self.query_sampling = "sequential" if dataset == "pascal" else "class_first"

    def test_classes(self, fold: int) -> list[int]:
        return sorted(pair_list(self, "val", fold).images_of)

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        return read_official([self.lists], self.name, split, fold)

    def candidates(self, part: Part) -> Sequence[str]:
        raise AssertionError("all lists are official")

    @cached_property
    def classes_of(self) -> dict[str, list[int]]:
        """Classes of this fold that an image is listed for."""
        shown: dict[str, list[int]] = {}
        for number, names in sorted(pair_list(self, "val", self.fold).images_of.items()):
            for name in names:
                shown.setdefault(name, []).append(number)
        return shown

    def image_path(self, name: str) -> Path:
        assert self.drawn is not None, "no image is opened"
        path = self.drawn / f"{name.removesuffix('.jpg').replace('/', '-')}.jpg"
        if not path.is_file():
            height, width = USUAL_SIZE[self.name]
            coarse = np.random.RandomState(crc32(name.encode())).randint(0, 256, (height // 8, width // 8, 3))
            smooth = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
            smooth.save(path, quality=90)
        return path

    def label_map(self, name: str) -> np.ndarray:
        """Return a map in which each class that the image is listed for is an upright stripe."""
        with Image.open(self.image_path(name)) as image:
            width, height = image.size
        labels = np.zeros((height, width), dtype=np.uint8)
        shown = self.classes_of.get(name, [])
        step = width // (len(shown) + 1)
        for place, number in enumerate(shown):
            labels[height // 6 : -height // 6, place * step : (place + 1) * step] = number
        return labels

    def episodes(self, protocol: str, way: int, shot: int) -> list[Episode]:
        """Return the official test episodes."""
        manifest = load_segmentation(protocol).manifest(self, Task(self.fold, way, shot))
        return list(manifest.episodes)
