"""Check a folder of COCO 2014."""

from pathlib import Path

from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.datamodules.check.lists import check_lists, derived_pairs
from fsbench.datamodules.check.media import check_files
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.lists.official import default_lists

_IMAGES = {"train2014": 82783, "val2014": 40504}
"""Images of each part of the official data."""
PAIRS_OF_CLASSES = {
    "val": (
        19217, 748, 2754, 1073, 727, 1213, 1257, 1565, 816, 572, 411, 385, 172, 1379, 713, 1291, 1203, 925, 456,
        616, 699, 335, 655, 839, 805, 1135, 998, 154, 709, 270, 434, 272, 142, 404, 173, 159, 655, 804, 687,
        1351, 516, 1733, 419, 470, 312, 1577, 551, 298, 577, 380, 521, 397, 331, 916, 423, 790, 3648, 1375,
        1198, 1272, 3722, 1116, 1416, 1070, 200, 302, 619, 446, 389, 925, 38, 1097, 773, 1159, 803, 676, 170,
        644, 37, 94,
    ),
    "trn": (
        40118, 1524, 5651, 2115, 2047, 2498, 2427, 3327, 1599, 1248, 862, 805, 325, 2724, 1393, 2437, 2424,
        1904, 1005, 1288, 1491, 655, 1297, 1770, 1698, 2186, 2104, 324, 1356, 527, 949, 628, 309, 920, 459, 377,
        1492, 1445, 1425, 2813, 1120, 3642, 865, 1031, 641, 3229, 1276, 785, 1167, 826, 1031, 809, 630, 1817,
        821, 1697, 7449, 2980, 2321, 2514, 7894, 2211, 2872, 2126, 397, 597, 1184, 734, 863, 1875, 88, 2306,
        1626, 2419, 1354, 1399, 369, 1337, 53, 190,
    ),
}  # fmt: skip
"""Split -> number of pairs of class 1, 2, … in the official lists (fscs-protocol §2.1)."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on images, annotations and lists in `root`; `lists` are folders of released lists."""
    complete = check_parts(Coco, report, root)
    if report.usable:
        index = Coco(str(root), lists=[])
        training = ("trn", "pfenet-trn") if "train2014" in complete else ()
        splits = (*training, "val", *SIZE_BINS, "pfenet-val")
        check_lists(report, index, derived_pairs(index), splits, default_lists(lists, root), PAIRS_OF_CLASSES)


def check_parts(kind: type[Coco], report: Report, root: Path) -> list[str]:
    """Report on the images and annotations that data set `kind` needs; returns which folders of images are complete."""
    if report.attempt("folders", lambda: kind(str(root), lists=[])) is None:  # its message names what `kind` needs
        return []
    index = Coco(str(root), lists=[])
    report.ok("folders", str(index.root))
    complete = []
    for folder in kind.image_folders:
        absent = index._absent_parts(folder)
        if absent and folder == "train2014" and len(absent) == 2:
            report.differs(folder, "not there; enough for evaluation, not for training")
        elif absent:
            report.problem(folder, f"{root} has no {' and no '.join(absent)}; expected both")
        else:
            complete.append(folder)
            _check_part(report, index, folder)
    return complete


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
        height, width = instances.sizes[instances.rows[name.partition("/")[2]]].tolist()
        return index.image_path(name), (width, height)

    check_files(report, f"{folder}, files", [name for name in annotated if name in images], sources)
