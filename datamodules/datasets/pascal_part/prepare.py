"""Prepare PASCAL-Part: VOC's photos of 2010 beside the authors' annotations."""

from functools import partial

from fsbench.base.errors import DataError
from fsbench.data.source import missing, read_source
from fsbench.datamodules.datasets.pascal_part.index import ANNOTATIONS, LIST, PHOTOS
from fsbench.datamodules.prepare.authors_files import take_file
from fsbench.datamodules.prepare.coco_photos import photo_in
from fsbench.datamodules.prepare.job import Job
from fsbench.datamodules.prepare.making import has_content, making_place, publish
from fsbench.datamodules.prepare.unpack import unpack

VOC_2010 = read_source("fsbench.datamodules.datasets.pascal_part").archives["VOCtrainval_03-May-2010.tar"]


def prepare(job: Job) -> list[str]:
    """Make `JPEGImages` of VOC 2010 beside PASCAL-Part's annotations; returns remarks for the user.

    Raises:
        DataError: the annotations are not there, or the archive is not to be had.
    """
    root = job.root / "VOC2010" if (job.root / "VOC2010").is_dir() else job.root
    take_file(job, LIST, __package__, root)
    if not has_content(root / ANNOTATIONS):
        raise missing(
            f"{root} has no {ANNOTATIONS}; expected the authors' folder of annotations",
            __package__,
        )
    if not has_content(root / PHOTOS):
        with making_place(root / PHOTOS) as making:
            if not unpack(job.obtain(VOC_2010), making, partial(photo_in, PHOTOS)):
                raise DataError(f"archive {VOC_2010.name} has no JPEGImages/*.jpg; expected VOC's photos of 2010")
            publish(making, root / PHOTOS)
    return [f"{LIST}, {VOC_2010.name}: no checksum is published"]
