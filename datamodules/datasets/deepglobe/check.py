"""Check a folder of DeepGlobe's crops."""

from pathlib import Path
from typing import Literal

from fsbench.datamodules.check.listed_masks import check_listed
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.deepglobe.index import DeepGlobe
from fsbench.datamodules.indexes.binary_masks import file_stem

CROPS = 5666
"""Crops that PATNet's paper counts."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on crops and masks in `root`; there are no lists."""
    index = check_listed(report, lambda: DeepGlobe(str(root), layout_of(root)))
    if index is not None:
        stems = {file_stem(name) for name in index.candidates("val")}
        report.count("crops", len(stems), CROPS, "crops, some in several classes")


def layout_of(root: Path) -> Literal["patnet", "ifa"]:
    """Return the layout whose names the masks below `root` have."""
    masks = (path.name for path in root.expanduser().glob("**/groundtruth/*.png"))
    return "ifa" if "_mask_" in next(masks, "") else "patnet"
