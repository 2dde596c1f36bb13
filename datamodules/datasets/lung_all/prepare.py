"""Prepare the chest X-rays of both hospitals."""

from fsbench.datamodules.datasets.lung.prepare import EVERY, prepare_images
from fsbench.datamodules.prepare.job import Job


def prepare(job: Job) -> list[str]:
    """Make `<root>/LungSegmentation/{CXR_png,masks}` of both hospitals; returns remarks for the user."""
    return prepare_images(job, r"(?:CHN|MCU)CXR_\w+", EVERY)
