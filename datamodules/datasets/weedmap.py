"""WeedMap: crops and weeds seen by a drone's camera with narrow bands (fixed-supports.md §2)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.image_io import read_label_file, read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.two_lists import TwoLists, visible_names

SUPPORTS, TEST = "000", "003"
"""Folders of the fields that supports and test images are from."""
CHANNELS = ("R", "G", "B")
CROP, WEED = 10000, 2
"""Numbers of the classes in the 16-bit label maps."""


class WeedMap(TwoLists):
    """Tiles of two sugar beet fields, crops and weeds; one field has the supports, the other one the test images.

    An image's three channels are files of their own.

    Args:
        root: Folder with `<000, 003>/tile/<R, G, B>/<frame>.png` and
            `<field>/groundtruth/<field>_<frame>_GroundTruth_iMap.png`; or a folder that holds this one as `RedEdge`.
    """

    name = "weedmap"
    class_names = ("crop", "weed")
    classes_of_fold = 2
    images_are_files = False
    inner = ("RedEdge",)
    marks = (SUPPORTS, TEST)
    archive: ClassVar[ByHand] = ByHand("the tiles of WeedMap", ("0_rotations_processed_003_test.zip",))
    source = Source(
        instructions="""\
The tiles are an archive of DistillFSS's authors (0_rotations_processed_003_test.zip, named in the README of
https://github.com/pasqualedem/DistillFSS), made from WeedMap 2018 (https://projects.asl.ethz.ch/datasets/weedmap);
their licence is not stated there. Put the archive into DIR, and run
  fsbench data prepare weedmap --root <root> --from DIR
Nobody publishes a checksum. <root> then holds
  RedEdge/<000, 003>/tile/<R, G, B>/<frame>.png   RedEdge/<000, 003>/groundtruth/<field>_<frame>_GroundTruth_iMap.png
"""
    )

    @cached_property
    def _names(self) -> tuple[tuple[str, ...], ...]:
        """Names `<field>/<frame>.png` of both fields."""
        found = []
        for field in self.marks:
            folder = self.root / field / "tile" / CHANNELS[0]
            if not folder.is_dir():
                raise self.source.missing(f"{folder} does not exist; expected the tiles of a field")
            found.append(tuple(f"{field}/{name}" for name in visible_names(folder) if name.endswith(".png")))
        return tuple(found)

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        training, test = self._names
        return training, test

    def _channel(self, name: str, channel: str) -> Path:
        field, frame = name.split("/")
        return self.root / field / "tile" / channel / frame

    def image_path(self, name: str) -> Path:
        """Return the first channel of an image; `further_files` are the others."""
        return self._channel(name, CHANNELS[0])

    @property
    def further_files(self) -> Sequence[Path]:
        """The second and third channels of all images."""
        return [self._channel(name, one) for names in self.images for name in names for one in CHANNELS[1:]]

    def pixels(self, name: str) -> np.ndarray:
        """Return the three channels of a tile, (H, W, 3) uint8.

        Raises:
            DataError: a channel is absent or damaged, or has another size than the others.
        """
        planes = [read_shades(self._channel(name, one), from_1=True)[..., 0] for one in CHANNELS]
        if any(plane.shape != planes[0].shape for plane in planes):
            raise DataError(f"{self.image_path(name)} and its other channels differ in size; unpack the archive again")
        return np.stack(planes, -1)

    def label_file(self, name: str) -> Path:
        field, frame = name.split("/")
        return self.root / field / "groundtruth" / f"{field}_{frame.removesuffix('.png')}_GroundTruth_iMap.png"

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: 1 crop, 2 weed, else 0."""
        stored = read_label_file(self.label_file(name)).stored
        if stored.ndim != 2:
            raise DataError(f"label map {self.label_file(name)} has colours; expected one number of 16 bits a pixel")
        return (np.where(stored == CROP, 1, 0) + np.where(stored == WEED, 2, 0)).astype(np.uint8)
