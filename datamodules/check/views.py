"""Check data sets of object annotations, whose images are views of photos."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fsbench.base.errors import FsbenchError
from fsbench.base.files import is_file
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import EpisodeTask
from fsbench.datamodules.check.report import Report, some
from fsbench.datamodules.indexes.views import ViewIndex
from fsbench.protocols.reading import load_segmentation

Index = TypeVar("Index", bound=ViewIndex)
MASKS = 40
"""Number of masks of each fold that are decoded as a sample."""


@dataclass(frozen=True)
class LoggedRuns:
    """Numbers of the released run logs (incontext-protocol §3), by which complete annotation files are known.

    Attributes:
        classes: shots -> number of classes of every fold.
        episodes: number of episodes of every fold.
    """

    classes: dict[int, tuple[int, ...]]
    episodes: tuple[int, ...]


def check_views(make: Callable[[str], ViewIndex], logged: LoggedRuns, report: Report, root: Path) -> None:
    """Report on annotation files and photos in `root` of the data set that `make` opens."""
    index = check_annotations(make, report, root)
    if index is None:
        return
    for shot, classes in logged.classes.items():
        for fold, official in enumerate(classes):
            subject = f"fold {fold}, {shot}-shot"
            manifest = draw_test(report, subject, index, "incontext", EpisodeTask(fold, shot=shot))
            if manifest is not None:
                report.count(subject, len(manifest.class_ids), official, "classes")
            if manifest is not None and shot == 1:
                report.count(f"{subject} episodes", len(manifest.episodes), logged.episodes[fold], "episodes")
                check_episodes(report, f"fold {fold}", index, manifest)


def check_annotations(make: Callable[[str], Index], report: Report, root: Path) -> Index | None:
    """Report on the annotation files in `root`; returns the data set, None where it cannot be used."""
    index = report.attempt("folders", lambda: make(str(root)))
    if index is None or report.attempt("annotations", lambda: index.class_names) is None:
        return None
    report.ok("folders", str(root))
    with report.errors("annotations"):
        faults = list(index.faults())
        if faults:
            report.differs(
                "annotations", f"{len(faults)} of the listed pairs of photo and class cannot be drawn: {faults[0]}"
            )
        else:
            report.ok("annotations", f"{len(index.listed_photos())} photos are listed, each with masks of a known form")
    return index


def draw_test(report: Report, subject: str, index: ViewIndex, protocol: str, task: EpisodeTask) -> Manifest | None:
    """Return the test that a protocol draws; None where it cannot be drawn, which the report says."""
    return report.attempt(subject, lambda: load_segmentation(protocol).manifest(index, task))


def check_episodes(report: Report, subject: str, index: ViewIndex, manifest: Manifest) -> None:
    """Report whether the photos of a run are there, and whether a sample of its masks can be decoded."""
    names = manifest.image_names
    absent = [name for name in names if not is_file(index.image_path(name))]
    if absent:
        report.problem(f"{subject}, photos", f"{len(absent)} of {len(names)} are missing: {some(absent)}")
        return
    broken = []
    for name in names[:: max(1, len(names) // MASKS)]:
        try:
            index.label_map(name)
        except FsbenchError as error:
            broken.append(str(error).splitlines()[0])
    if broken:
        report.problem(f"{subject}, masks", f"{len(broken)} of a sample cannot be used: {broken[0]}")
    else:
        report.ok(f"{subject}, photos", f"{len(names)} views; a sample of masks decodes")
