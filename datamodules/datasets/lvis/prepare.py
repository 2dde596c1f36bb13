"""Prepare LVIS-92i: COCO's photos of 2017 beside the authors' annotation file."""

from datamodules.datasets.lvis.index import FILE, Lvis
from datamodules.prepare.authors_files import take_file
from datamodules.prepare.coco_photos import provide_photos
from datamodules.prepare.job import Job


def prepare(job: Job) -> list[str]:
    """Put the authors' annotation file and the photos into the root; returns remarks for the user."""
    take_file(job, FILE, __package__)
    return [f"{FILE}: no checksum is published", *provide_photos(job, Lvis, FILE)]
