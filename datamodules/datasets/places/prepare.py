"""Prepare Places365-Standard."""

from fsbench.datamodules.datasets.places import Places
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.labelled_images import prepare_images


def prepare(job: Job) -> list[str]:
    """Unpack the archives to the root; returns remarks for the user."""
    return prepare_images(Places, job)
