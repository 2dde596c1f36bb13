"""Check a folder of COCO's test part; its lists are compared fold by fold, as the official ones are."""

from pathlib import Path

from fsbench.datamodules.check.lists import check_lists, derived_pairs
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.coco.check import PAIRS_OF_CLASSES, check_parts
from fsbench.datamodules.datasets.coco_all import CocoAll
from fsbench.datamodules.lists.official import default_lists


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, annotations and lists in `root`; `lists` are folders of released lists."""
    check_parts(CocoAll, report, root)
    if report.usable:
        index = Coco(str(root), lists=[])
        check_lists(report, index, derived_pairs(index), ("val",), default_lists(lists, root), PAIRS_OF_CLASSES)
