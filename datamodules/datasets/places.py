"""Places365-Standard, a data set for classification (fort.md §2)."""

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Places(LabelledImages):
    """Places365-Standard: 365 classes of scenes, with the first 200 training photos of each class folder."""

    name = "places"
    parts = ("train",)
    inner = ("places365_standard",)
    photos = "train"
    official = (365, 73_000)
    most = 200
    source = Source(
        archives=(
            Archive(
                "http://data.csail.mit.edu/places/places365/places365standard_easyformat.tar",
                None,  # none is published
                ("train/*/*.jpg",),
                most=200,  # of each folder, by name; there are 1.8 million
            ),
        ),
        dataset="places",
        page="http://places2.csail.mit.edu/download-private.html",
        terms="more than 20 GB, of which 73,000 photos are kept",
        holds=("train/<365 classes>/<photo>.jpg",),
    )
