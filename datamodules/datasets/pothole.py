"""Pothole Mix: potholes and cracks of roads in five merged sets (fixed-supports.md §2)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.class_folders import IMAGE_SUFFIXES
from fsbench.datamodules.kinds.two_lists import TwoLists, grey, visible_names


class Pothole(TwoLists):
    """Pothole Mix, one class: every kind of damage that its masks show in a colour.

    Args:
        root: Folder with `training/<set>/images`, `training/<set>/masks` and the same below `testing`; or a folder that
            holds this one as `pothole-mix`.
    """

    name = "pothole"
    class_names = ("pothole",)
    classes_of_fold = 1
    inner = ("pothole-mix",)
    marks = ("training", "testing")
    archive: ClassVar[ByHand] = ByHand("Pothole Mix", ("pothole-mix.zip", "Pothole Mix.zip", "kfth5g2xk3-2.zip"))
    source = Source(
        instructions="""\
Pothole Mix is at https://data.mendeley.com/datasets/kfth5g2xk3/2, where its licence stands: put the archive
(pothole-mix.zip) into DIR, and run
  fsbench data prepare pothole --root <root> --from DIR
Nobody publishes a checksum. <root> then holds
  pothole-mix/<training, testing>/<set>/images/<id>.jpg   pothole-mix/<training, testing>/<set>/masks/<id>.png
"""
    )

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        """{image name: (its image, its mask)} of both parts."""
        found: dict[str, tuple[Path, Path]] = {}
        for part in self.marks:
            for own in visible_names(self.root / part):
                images, masks = (self.root / part / own / kind for kind in ("images", "masks"))
                for file in visible_names(images) if images.is_dir() else ():
                    if Path(file).suffix.lower() not in IMAGE_SUFFIXES:
                        continue
                    stem = file.partition(".")[0]
                    name, mask = f"{part}/{own}.{stem}", masks / f"{stem}.png"
                    if name in found:
                        raise DataError(
                            f"{images} has two images named {stem}; expected one up to its first dot; remove one"
                        )
                    if not mask.is_file():
                        raise self.source.missing(f"{images / file} has no mask; expected {mask}")
                    found[name] = images / file, mask
        return found

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        training, test = (sorted(name for name in self._files if name.startswith(f"{part}/")) for part in self.marks)
        return training, test

    def image_path(self, name: str) -> Path:
        return self._files[name][0]

    def label_file(self, name: str) -> Path:
        return self._files[name][1]

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: 1 where the mask has any colour but black."""
        return (grey(self.label_file(name)) > 0).astype(np.uint8)
