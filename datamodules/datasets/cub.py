"""CUB-200-2011, a data set for classification (fort.md §2)."""

from fsbench.data.source import Archive, Source
from fsbench.datamodules.kinds.labelled_images import LabelledImages


class Cub(LabelledImages):
    """CUB-200-2011: all photos of birds; the 200 folders in `images` are the classes."""

    name = "cub"
    parts = ("images",)
    inner = ("CUB_200_2011",)
    photos = "images"
    official = (200, 11_788)
    class_in_folder = r"(?:.*\.)?(.*)"
    source = Source(
        archives=(
            Archive(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "97eceeb196236b17998738112f37df78",
                ("images/*/*.jpg",),
            ),
        ),
        dataset="cub",
        page="https://data.caltech.edu/records/65de6-vp158",
        holds=("images/<200 classes>/<photo>.jpg",),
    )
