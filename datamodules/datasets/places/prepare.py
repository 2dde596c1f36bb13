"""Prepare Places365-Standard."""

from datamodules.datasets.places import Places
from datamodules.prepare.job import Archive, Job
from datamodules.prepare.labelled_images import Source, prepare_images

SOURCES = (
    Source(
        Archive(
            "places365standard_easyformat.tar",
            "http://data.csail.mit.edu/places/places365/places365standard_easyformat.tar",
            None,
        ),
        ("train/*/*.jpg",),
        most=Places.most,
    ),
)


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Places, SOURCES, job)
