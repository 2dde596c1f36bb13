"""Check a folder of LVIS-92i."""

from pathlib import Path

from fsbench.base.files import is_file
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.check.views import LoggedRuns, check_annotations, check_episodes, check_views, draw_test
from fsbench.datamodules.datasets.lvis import Lvis
from fsbench.datamodules.datasets.lvis.index import FILE

LOGGED = LoggedRuns(classes={1: (92,) * 10, 5: (68,) * 10}, episodes=(2300,) * 10)
SAMPLE = 60
"""Episodes of each fold that are drawn where no released log tells how many there are."""


def check(report: Report, root: Path, lists: list[str] | None) -> None:
    """Report on annotation files and photos in `root`; there are no lists."""
    if is_file(root / FILE):
        check_views(Lvis, LOGGED, report, root)
    else:
        _check_own_file(report, root)


def _check_own_file(report: Report, root: Path) -> None:
    """Report on a folder with LVIS's own file alone, by the episodes of presence."""
    index = check_annotations(Lvis, report, root)
    if index is None:
        return
    report.differs("tests", f"there is no {FILE}: PROTOCOL=presence alone, with episodes of LVIS's own file")
    photos = sorted(index.listed_photos())
    absent = [photo for photo in photos if not is_file(index.image_path(photo))]
    if absent:
        report.problem("photos", f"{len(absent)} of {len(photos)} are missing: {some(absent)}")
    for fold in range(index.folds):
        subject, task = f"fold {fold}", EpisodeTask(fold, episodes=SAMPLE, skip_small_classes=True)
        manifest = draw_test(report, subject, index, "presence", task)
        if manifest is not None:
            report.ok(subject, f"{len(manifest.class_ids)} classes")
            check_episodes(report, subject, index, manifest)
