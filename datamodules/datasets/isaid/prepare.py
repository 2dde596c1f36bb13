"""Prepare iSAID-5i: the authors' lists beside their patches, which no program can fetch."""

from fsbench.datamodules.datasets.isaid import Isaid
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists


def prepare(job: Job) -> list[str]:
    """Provide the authors' lists beside iSAID's patches; returns remarks for the user.

    Raises:
        DataError: the patches are not there, or the lists are not to be had.
    """
    remarks = provide_lists(job, "fsbench.datamodules.datasets.isaid")
    Isaid(str(job.root), lists=[])
    return remarks
