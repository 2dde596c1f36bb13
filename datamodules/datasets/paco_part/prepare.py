"""Prepare PACO-Part: COCO's photos of 2017 beside the authors' annotation files."""

from fsbench.datamodules.datasets.paco_part.index import FILES, PacoPart
from fsbench.datamodules.prepare.authors_files import take_file
from fsbench.datamodules.prepare.coco_photos import provide_photos
from fsbench.datamodules.prepare.job import Job


def prepare(job: Job) -> list[str]:
    """Put the authors' annotation files and the photos into the root; returns remarks for the user."""
    for file in FILES.values():
        take_file(job, file, __package__)
    remarks = [f"{file}: no checksum is published" for file in FILES.values()]
    return remarks + provide_photos(job, PacoPart, FILES["val"])
