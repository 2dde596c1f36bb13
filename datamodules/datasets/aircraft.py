"""FGVC-Aircraft, a data set for classification (fort.md §2)."""

from collections.abc import Sequence

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.class_folders import by_class, rows, spoken
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Aircraft(LabelledImages):
    """FGVC-Aircraft: training and validation photos of 70 aircraft families (the classes)."""

    name = "aircraft"
    parts = ("images", "images_family_trainval.txt")
    inner = ("data", "fgvc-aircraft-2013b/data")
    photos = "images"
    official = (70, 6_667)
    source = Source(
        archives=(
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
                "d4acdd33327262359767eeaa97a4f732",
                ("images/*.jpg", "images_family_trainval.txt"),
            ),
        ),
        dataset="aircraft",
        page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
        holds=("images/<photo>.jpg", "images_family_trainval.txt"),
    )

    def derive(self) -> list[tuple[str, Sequence[str]]]:
        source = self.root / self.parts[1]
        lines = rows(source, 2, "<image> <family>")
        classes = by_class({f"{image}.jpg": family.strip() for image, family in lines}, self.folder, source)
        return [(spoken(family), images) for family, images in classes.items()]
