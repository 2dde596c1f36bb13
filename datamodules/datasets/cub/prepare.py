"""Prepare CUB-200-2011."""

from datamodules.datasets.cub import Cub
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images
from fsbench.download import Digest

SOURCES = (
    Source(
        Archive(
            "CUB_200_2011.tgz",
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            Digest("md5", "97eceeb196236b17998738112f37df78"),
        ),
        ("images/*/*.jpg",),
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Cub, SOURCES, job)
