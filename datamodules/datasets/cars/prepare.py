"""Prepare Stanford Cars."""

from datamodules.datasets.cars import Cars
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images
from fsbench.download import Digest

SOURCES = (
    Source(
        Archive(
            "car_devkit.tgz",
            "https://ai.stanford.edu/~jkrause/cars/car_devkit.tgz",
            Digest("md5", "c3b158d763b6e2245038c8ad08e45376"),
        ),
        ("devkit/*.mat",),
    ),
    Source(
        Archive(
            "cars_train.tgz",
            "https://ai.stanford.edu/~jkrause/car196/cars_train.tgz",
            Digest("md5", "065e5b463ae28d29e77c1b4b166cfe61"),
        ),
        ("cars_train/*.jpg",),
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Cars, SOURCES, job)
