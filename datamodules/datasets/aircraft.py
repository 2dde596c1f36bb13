"""FGVC-Aircraft, a data set for classification (fort.md §2)."""

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Aircraft(LabelledImages):
    """FGVC-Aircraft: training and validation photos of 70 aircraft families (the classes)."""

    name = "aircraft"
    parts = ("images", "images_family_trainval.txt")
    inner = ("data", "fgvc-aircraft-2013b/data")
    photos = "images"
    official = (70, 6_667)
    listing = ("images_family_trainval.txt", "<image> <family>")
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
