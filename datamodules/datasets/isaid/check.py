"""Check a folder of iSAID-5i."""

from pathlib import Path

from fsbench.datamodules.check.lists import check_lists, derived_pairs
from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report
from fsbench.datamodules.datasets.isaid import Isaid
from fsbench.datamodules.lists.official import default_lists


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on patches, label maps and lists of iSAID-5i in `root`; `lists` are folders of released lists."""
    index = report.attempt("folders", lambda: Isaid(str(root), lists=[]))
    parts = index.parts if index else ()
    names = report.attempt("patches", lambda: [n for part in parts for n in index.candidates(part)]) if index else None
    if index is None or names is None:
        return
    report.ok("folders", str(index.root))
    check_files(
        report,
        "patches, label maps",
        names,
        lambda name: (index.image_path(name), index.label_file(name)),
        index.label_map,
    )
    if report.usable:
        check_lists(report, index, derived_pairs(index), parts, default_lists(lists, root))
