"""COCO 2014."""

from pathlib import Path

from datamodules.check.lists import check_lists
from datamodules.check.media import check_files
from datamodules.check.report import Report, some
from datamodules.coco import Coco
from datamodules.official_lists import default_lists
from fsbench.annotations import SIZE_BINS

_PHOTOS = {"train2014": 82783, "val2014": 40504}


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    index = report.attempt("folders", lambda: Coco(str(root), lists=[]))
    if index is None:
        return
    report.ok("folders", str(index.root))
    complete = {}
    for folder in _PHOTOS:
        absent = index._absent_parts(folder)
        complete[folder] = not absent
        if absent and folder == "train2014" and len(absent) == 2:
            report.differs(folder, "not there; enough for evaluation, not for training")
        elif absent:
            report.problem(folder, f"{root} has no {' and no '.join(absent)}; expected both")
        else:
            _check_part(report, index, folder)
    if report.usable:
        splits = ("trn", "pfenet-trn") if complete["train2014"] else ()
        check_lists(
            report,
            index,
            lambda split, fold: index.pair_list(split, fold).pairs,
            (*splits, "val", *SIZE_BINS, "pfenet-val"),
            default_lists(lists, root),
        )


def _check_part(report: Report, index: Coco, folder: str) -> None:
    instances = report.attempt(folder, lambda: index._annotations(folder))
    if instances is None:
        return
    photos = index._photos[folder]
    report.count(folder, len(photos), _PHOTOS[folder], "photos")
    annotated = [f"{folder}/{name}" for name in instances.file_names]
    report.count(f"annotations/instances_{folder}.json", len(annotated), _PHOTOS[folder], "images")
    strange = sorted(photos.difference(annotated))
    if strange:
        report.differs(folder, f"{len(strange)} photos without an entry in the annotations: {some(strange)}")
    without = sorted(set(annotated) - photos)
    if without:
        report.problem(folder, f"{len(without)} annotated images have no photo: {some(without)}; expected one for each")

    def sources(name: str) -> tuple[Path, tuple[int, int]]:
        height, width = instances.sizes[instances.row_of[name.partition("/")[2]]].tolist()
        return index.image_path(name), (width, height)

    check_files(report, f"{folder}, files", [name for name in annotated if name in photos], sources)
