"""Prepare DeepGlobe with all of its crops."""

from fsbench.datamodules.datasets.deepglobe.prepare import prepare_crops
from fsbench.datamodules.prepare.job import Job


def prepare(job: Job) -> list[str]:
    """Make `<root>/Deepglobe/<1 to 6>/test/{origin,groundtruth}` of all crops; returns remarks for the user."""
    return prepare_crops(job, with_all=True)
