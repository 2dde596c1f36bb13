"""Data sets that DistillFSS tests on (fixed-supports.md §2); its others have files of their own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.declaration import Declaration
from fsbench.datamodules.kinds.two_lists import RandomFifth, TwoLists


class Pothole(TwoLists):
    """Pothole Mix, five merged sets of roads; one class: every kind of damage that its masks show in a colour."""

    declaration = Declaration(
        name="pothole",
        class_names=("pothole",),
        inner=("pothole-mix",),
        marks=("training", "testing"),
        parts=("training", "testing"),
        listed="{part}/{set}/images/{stem}.{suffix}",
        image="{part}/{set}.{stem}",
        labels="{part}/{set}/masks/{stem}.png",
        mask="any colour",
        source=Source(
            page="https://data.mendeley.com/datasets/kfth5g2xk3/2",
            by_hand=(ByHand("Pothole Mix", ("pothole-mix.zip", "Pothole Mix.zip", "kfth5g2xk3-2.zip")),),
        ),
    )


class Kvasir(RandomFifth):
    """Kvasir-SEG, polyps in pictures of the bowel, by name; a fifth of its images is the test."""

    declaration = Declaration(
        name="kvasir",
        class_names=("polyp",),
        inner=("Kvasir-SEG",),
        marks=("images", "masks"),
        listed="masks/{id}.jpg",
        image="{id}",
        photo="images/{id}.jpg",
        mask="red above 245",  # of JPEGs
        counts={"training": 800, "test": 200},
        source=Source(
            page="https://datasets.simula.no/kvasir-seg",
            by_hand=(ByHand("Kvasir-SEG", ("kvasir-seg.zip", "Kvasir-SEG.zip")),),
        ),
    )


class Nucleus(TwoLists):
    """Nuclei of cells, the first training part of the 2018 Data Science Bowl; a fifth of the images is the test."""

    declaration = Declaration(
        name="nucleus",
        class_names=("nucleus",),
        inner=("Nucleus", "stage1_train"),
        marks=("*/images", "*/masks"),
        packed=("*/images/*", "*/masks/*"),
        listed="{id}/images",
        image="{id}",
        photo="{id}/images/*",
        labels="{id}/masks/*",  # a file for each nucleus
        counts={"training": 536, "test": 134},
        source=Source(
            page="https://www.kaggle.com/c/data-science-bowl-2018/data",
            terms="for signed-in users",
            by_hand=(ByHand("the 2018 Data Science Bowl's first training part", ("stage1_train.zip",)),),
        ),
    )


class WeedMap(TwoLists):
    """WeedMap, tiles of two sugar beet fields seen by a drone's camera with narrow bands: crops and weeds.

    One field has the supports, the other one the test images. An image's three channels are files of their own.
    """

    images_are_files = False
    declaration = Declaration(
        name="weedmap",
        class_names=("crop", "weed"),
        inner=("RedEdge",),
        marks=("000", "003"),
        parts=("000", "003"),
        listed="{part}/tile/R/{frame}.png",  # beside the folders G and B
        image="{part}/{frame}.png",
        labels="{part}/groundtruth/{part}_{frame}_GroundTruth_iMap.png",
        mask="crop 10000, weed 2",
        source=Source(
            page="https://github.com/pasqualedem/DistillFSS",
            terms="made from https://projects.asl.ethz.ch/datasets/weedmap; no licence is stated",
            by_hand=(ByHand("the tiles of WeedMap", ("0_rotations_processed_003_test.zip",)),),
            notes=("the channels G and B are in folders beside R",),
        ),
    )

    def _channels(self, name: str) -> list[Path]:
        first = self.image_path(name)
        return [first.parent.with_name(channel) / first.name for channel in "RGB"]

    @property
    def further_files(self) -> Sequence[Path]:
        """The second and third channels of all images."""
        return [channel for name in self.every_name for channel in self._channels(name)[1:]]

    def pixels(self, name: str) -> np.ndarray:
        """Return the three channels of a tile, (H, W, 3) uint8.

        Raises:
            DataError: a channel is absent or damaged, or has another size than the others.
        """
        planes = [read_shades(file, from_1=True)[..., 0] for file in self._channels(name)]
        if any(plane.shape != planes[0].shape for plane in planes):
            raise DataError(f"{self.image_path(name)} and its other channels differ in size; unpack the archive again")
        return np.stack(planes, -1)
