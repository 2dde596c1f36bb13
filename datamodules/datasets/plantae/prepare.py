"""Prepare the plants of iNaturalist 2018."""

from datamodules.datasets.plantae import Plantae
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images
from fsbench.download import Digest

SOURCES = (
    Source(
        Archive(
            "categories.json.tar.gz",
            "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/categories.json.tar.gz",
            None,
        ),
        ("categories.json",),
    ),
    Source(
        Archive(
            "train_val2018.tar.gz",
            "https://ml-inat-competition-datasets.s3.amazonaws.com/2018/train_val2018.tar.gz",
            Digest("md5", "b1c6952ce38f31868cc50ea72d066cc3"),
        ),
        ("Plantae/*/*.jpg",),
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Plantae, SOURCES, job)
