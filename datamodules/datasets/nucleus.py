"""Nuclei of cells, the first training part of the 2018 Data Science Bowl (fixed-supports.md §2)."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.two_lists import TwoLists, grey, random_fifth, visible_names


class Nucleus(TwoLists):
    """Nuclei in pictures of a microscope, one class; a fifth of the images is the test.

    Args:
        root: Folder with `<id>/images/<one file>` and `<id>/masks/<a file for each nucleus>`; or a folder that holds
            this one as `Nucleus`.
    """

    name = "nucleus"
    class_names = ("nucleus",)
    classes_of_fold = 1
    inner = ("Nucleus", "stage1_train")
    marks = ()
    archive: ClassVar[ByHand] = ByHand("the 2018 Data Science Bowl's first training part", ("stage1_train.zip",))
    listed = (536, 134)
    source = Source(
        instructions="""\
stage1_train of the 2018 Data Science Bowl is handed out to signed-in users at
https://www.kaggle.com/c/data-science-bowl-2018/data, under the terms there: put the archive (stage1_train.zip) into
DIR, and run
  fsbench data prepare nucleus --root <root> --from DIR
Nobody publishes a checksum. <root> then holds
  Nucleus/<id>/images/<id>.png   Nucleus/<id>/masks/<a file for each nucleus>.png
"""
    )

    def __init__(self, root: str):
        super().__init__(root)
        inside = next((self.root / name for name in self.inner if (self.root / name).is_dir()), self.root)
        if not inside.is_dir() or not any(self._ids_in(inside)):
            raise self.source.missing(f"{inside} has no <id>/images; expected a folder for each image")
        self.root = inside

    @staticmethod
    def _ids_in(folder: Path) -> list[str]:
        return [name for name in visible_names(folder) if (folder / name / "images").is_dir()]

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        split = random_fifth(self._ids_in(self.root))
        return split.training, split.test

    @cached_property
    def _files(self) -> dict[str, tuple[Path, list[Path]]]:
        """{image name: (its image, its masks)}."""
        found = {}
        for name in (*self.images[0], *self.images[1]):
            images, masks = (self.root / name / kind for kind in ("images", "masks"))
            files = [images / file for file in visible_names(images)]
            own = [masks / file for file in visible_names(masks)] if masks.is_dir() else []
            if len(files) != 1 or not own:
                raise DataError(
                    f"{self.root / name} has {len(files)} images and {len(own)} masks; expected one image, and a mask "
                    "for each nucleus; unpack the archive again"
                )
            found[name] = files[0], own
        return found

    def image_path(self, name: str) -> Path:
        return self._files[name][0]

    def label_file(self, name: str) -> Path:
        """Return the first mask of an image; `further_files` are the others."""
        return self._files[name][1][0]

    @property
    def further_files(self) -> Sequence[Path]:
        """All masks but the first of each image."""
        return [mask for _, masks in self._files.values() for mask in masks[1:]]

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: 1 where a mask's grey value is 128 or more."""
        masks = [grey(mask) >= 128 for mask in self._files[name][1]]
        if any(mask.shape != masks[0].shape for mask in masks):
            raise DataError(f"{self.root / name}/masks has masks of several sizes; expected one; unpack them again")
        return np.any(masks, axis=0).astype(np.uint8)

    @classmethod
    def place(cls, name: PurePosixPath) -> str | None:
        """Return `<id>/<images or masks>/<file>` of a file of the archive; None for the rest."""
        wanted = len(name.parts) >= 3 and name.parts[-2] in ("images", "masks") and "__MACOSX" not in name.parts
        return "/".join(name.parts[-3:]) if wanted and not name.name.startswith(".") else None

    @classmethod
    def is_prepared(cls, root: Path) -> bool:
        return any((root / name).is_dir() and any(cls._ids_in(root / name)) for name in cls.inner)
