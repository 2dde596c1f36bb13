"""Kvasir-SEG: polyps in pictures of the bowel (fixed-supports.md §2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from fsbench.data.image_io import read_shades
from fsbench.data.source import ByHand, Source
from fsbench.datamodules.kinds.two_lists import Run, TwoLists, random_fifth, visible_names

BRIGHT = 245
"""Grey value above which a pixel of a mask, a JPEG, shows a polyp."""


class Kvasir(TwoLists):
    """Kvasir-SEG, one class; a fifth of its images is the test.

    Args:
        root: Folder with `images/<id>.jpg` and `masks/<id>.jpg`; or a folder that holds this one as `Kvasir-SEG`.
        run: Run of DistillFSS's program whose order the training images have, which decides which of them are supports.
            The "first" run draws the images of the test and has the others as drawn; "later" runs have them in the
            order of their names.
    """

    name = "kvasir"
    class_names = ("polyp",)
    classes_of_fold = 1
    inner = ("Kvasir-SEG",)
    marks = ("images", "masks")
    archive: ClassVar[ByHand] = ByHand("Kvasir-SEG", ("kvasir-seg.zip", "Kvasir-SEG.zip"))
    listed = (800, 200)
    source = Source(
        instructions="""\
Kvasir-SEG is at https://datasets.simula.no/kvasir-seg, where its terms stand: put the archive (kvasir-seg.zip) into
DIR, and run
  fsbench data prepare kvasir --root <root> --from DIR
Nobody publishes a checksum. <root> then holds
  Kvasir-SEG/images/<id>.jpg   Kvasir-SEG/masks/<id>.jpg
"""
    )

    def __init__(self, root: str, run: Run = "later"):
        self.run = run
        super().__init__(root)

    def list_images(self) -> tuple[Sequence[str], Sequence[str]]:
        names = [name.removesuffix(".jpg") for name in visible_names(self.root / "masks") if name.endswith(".jpg")]
        return random_fifth(names).lists(self.run)

    def image_path(self, name: str) -> Path:
        return self.root / f"images/{name}.jpg"

    def label_file(self, name: str) -> Path:
        return self.root / f"masks/{name}.jpg"

    def label_map(self, name: str) -> np.ndarray:
        """Return the label map (H, W) uint8: 1 where the mask's first channel is above `BRIGHT`."""
        return (read_shades(self.label_file(name))[..., 0] > BRIGHT).astype(np.uint8)
