"""Oxford-IIIT Pet, a data set for classification (fort.md §2)."""

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Pets(LabelledImages):
    """Oxford-IIIT Pet: the photos of its file `list.txt`, with 37 breeds in the order of the file's CLASS-ID."""

    name = "pets"
    parts = ("images", "annotations/list.txt")
    inner = ("oxford-iiit-pet",)
    photos = "images"
    official = (37, 7_349)
    listing = ("annotations/list.txt", "<image> <class> <species> <breed>")
    numbered = True
    source = Source(
        archives=(
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
                "95a8c909bbe2e81eed6a22bccdf3f68f",
                ("annotations/list.txt",),
            ),
            Archive(
                "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
                "5c4f3ee8e5d25df40f4fd59a7f44e54c",
                ("images/*.jpg",),
            ),
        ),
        dataset="pets",
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        holds=("images/<photo>.jpg", "annotations/list.txt"),
    )
