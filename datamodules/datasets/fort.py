"""Data sets for classification whose photos only have to be found (fort.md §2)."""

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Aircraft(LabelledImages):
    """FGVC-Aircraft: training and validation photos of 70 aircraft families (the classes)."""

    name = "aircraft"
    parts = ("images", "images_family_trainval.txt")
    inner = ("data", "fgvc-aircraft-2013b/data")
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
        page="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/",
    )


class Cub(LabelledImages):
    """CUB-200-2011: all photos of birds; the 200 folders in `images` are the classes."""

    name = "cub"
    parts = ("images",)
    inner = ("CUB_200_2011",)
    official = (200, 11_788)
    number_in_folder = r"^.*\."
    source = Source(
        archives=(
            Archive(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "97eceeb196236b17998738112f37df78",
                ("images/*/*.jpg",),
            ),
        ),
        page="https://data.caltech.edu/records/65de6-vp158",
    )


class Pets(LabelledImages):
    """Oxford-IIIT Pet: the photos of its file `list.txt`, with 37 breeds in the order of the file's CLASS-ID."""

    name = "pets"
    parts = ("images", "annotations/list.txt")
    inner = ("oxford-iiit-pet",)
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
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    )


class Places(LabelledImages):
    """Places365-Standard: 365 classes of scenes, with the first 200 training photos of each class folder."""

    name = "places"
    parts = ("train",)
    inner = ("places365_standard",)
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
        page="http://places2.csail.mit.edu/download-private.html",
        terms="more than 20 GB, of which 73,000 photos are kept",
    )
