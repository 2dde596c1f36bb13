"""Prepare Oxford-IIIT Pet."""

from datamodules.datasets.pets import Pets
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images
from fsbench.download import Digest

SOURCES = (
    Source(
        Archive(
            "annotations.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/annotations.tar.gz",
            Digest("md5", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
        ("annotations/list.txt",),
    ),
    Source(
        Archive(
            "images.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz",
            Digest("md5", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
        ),
        ("images/*.jpg",),
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Pets, SOURCES, job)
