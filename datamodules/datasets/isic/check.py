"""Check a folder of ISIC 2018 Task 1."""

from collections import Counter
from pathlib import Path

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.isic.index import NUMBERINGS, Isic, lesion_classes, numbering_of


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images and masks in `root`; there are no lists but that of the kinds of lesions."""
    counts = Counter(lesion_classes().values())
    numbering = numbering_of(root)
    if check_listed(report, lambda: Isic(str(root), numbering), counts, counts.total()) is not None:
        report.ok("numbering", f"{numbering}: {', '.join(NUMBERINGS[numbering])}")
