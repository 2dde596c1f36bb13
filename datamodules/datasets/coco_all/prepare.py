"""Prepare COCO's test part: its images, annotations, and the official test lists of the four folds."""

from fsbench.datamodules.datasets.coco.prepare import provide_parts
from fsbench.datamodules.datasets.coco_all import CocoAll
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.list_files import provide_lists


def prepare(job: Job) -> list[str]:
    """Make `<root>/{val2014,annotations}` and the lists of the test; returns remarks for the user."""
    remarks = provide_lists(job, "fsbench.datamodules.datasets.coco", "hsnet/coco/val/")
    provide_parts(job, CocoAll.image_folders)
    return remarks
