"""Prepare COCO's test part: its images, annotations, and the official test lists of the four folds."""

from datamodules.datasets.coco.prepare import provide_parts
from datamodules.datasets.coco_all import CocoAll
from datamodules.prepare.job import Job
from datamodules.prepare.list_files import provide_lists


def prepare(job: Job) -> list[str]:
    """Make `<root>/{val2014,annotations}` and the lists of the test; returns remarks for the user."""
    remarks = provide_lists(job, "datamodules.datasets.coco", "hsnet/coco/val/")
    provide_parts(job, CocoAll.image_folders)
    return remarks
