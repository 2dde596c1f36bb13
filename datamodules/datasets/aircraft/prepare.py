"""Prepare FGVC-Aircraft."""

from datamodules.datasets.aircraft import Aircraft
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images
from fsbench.download import Digest

SOURCES = (
    Source(
        Archive(
            "fgvc-aircraft-2013b.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            Digest("md5", "d4acdd33327262359767eeaa97a4f732"),
        ),
        (
            "images/*.jpg",
            "images_family_trainval.txt",
        ),
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Aircraft, SOURCES, job)
