"""Check a folder of COCO 2014."""

from pathlib import Path

from datamodules.check.lists import check_lists
from datamodules.check.media import check_files
from datamodules.check.report import Report, some
from datamodules.datasets.coco import Coco
from datamodules.datasets.coco_all import CocoAll
from datamodules.lists.official import default_lists
from fsbench.episodes.settings import SIZE_BINS
from fsbench.protocols.lists import pair_list

_IMAGES = {"train2014": 82783, "val2014": 40504}
"""Images of each part of the official data."""


def check(kind: type[Coco], report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, annotations and lists in `root`, as far as data set `kind` needs them.

    Args:
        kind: `Coco`, or `CocoAll`, whose test joins the test lists of COCO's folds.
        report: where the findings go.
        root: folder of the data set.
        lists: folders of released lists.
    """
    if report.attempt("folders", lambda: kind(str(root), lists=[])) is None:  # its message names what `kind` needs
        return
    index = Coco(str(root), lists=[])
    report.ok("folders", str(index.root))
    complete: dict[str, bool] = {}
    for folder in kind.image_folders:
        absent = index._absent_parts(folder)
        complete[folder] = not absent
        if absent and folder == "train2014" and len(absent) == 2:
            report.differs(folder, "not there; enough for evaluation, not for training")
        elif absent:
            report.problem(folder, f"{root} has no {' and no '.join(absent)}; expected both")
        else:
            _check_part(report, index, folder)
    if report.usable:
        splits = ("trn", "pfenet-trn") if complete.get("train2014") else ()
        others = () if kind is CocoAll else (*SIZE_BINS, "pfenet-val")
        check_lists(
            report,
            index,
            lambda split, fold: pair_list(index, split, fold).pairs,
            (*splits, "val", *others),
            default_lists(lists, root),
        )


def _check_part(report: Report, index: Coco, folder: str) -> None:
    """Report on the images of `folder` and their annotations."""
    instances = report.attempt(folder, lambda: index._annotations(folder))
    if instances is None:
        return
    images = index._image_names[folder]
    report.count(folder, len(images), _IMAGES[folder], "photos")
    annotated = [f"{folder}/{name}" for name in instances.file_names]
    report.count(f"annotations/instances_{folder}.json", len(annotated), _IMAGES[folder], "images")
    unlisted = sorted(images.difference(annotated))
    if unlisted:
        report.differs(folder, f"{len(unlisted)} photos without an entry in the annotations: {some(unlisted)}")
    missing = sorted(set(annotated) - images)
    if missing:
        report.problem(folder, f"{len(missing)} annotated images have no photo: {some(missing)}; expected one for each")

    def sources(name: str) -> tuple[Path, tuple[int, int]]:
        """Return the image file and the (width, height) that the annotations give it."""
        height, width = instances.sizes[instances.row_of[name.partition("/")[2]]].tolist()
        return index.image_path(name), (width, height)

    check_files(report, f"{folder}, files", [name for name in annotated if name in images], sources)
