"""The test of abdominal scans that SSL-ALPNet made, and most later papers use: every slice of a scan (alpnet.md §3).

Nothing is drawn. A class is segmented in all query scans of the fold, each of which is divided into parts; the support
of a query is the slice in the middle of the same part of the support scan.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import FoldScans, VolumeData, slice_name
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.words import OTHERS, Choice

OFFICIAL = "official"


class SliceQuery(NamedTuple):
    """Slice of a query scan, with the part of the scan that it lies in.

    Attributes:
        scan: id of the scan.
        z: position of the slice in the scan.
        part: number, from 0, of the part of the scan, whose support slice the query gets.
        counts: whether predictions in the slice are scored.
        shows: whether the slice has a pixel of the class.
    """

    scan: str
    z: int
    part: int
    counts: bool
    shows: bool


def support_slices(listed: Sequence[int], parts: int) -> list[int]:
    """Return the middle slice of each part of a support scan.

    The parts divide the list of slices that show the class, not the range from the first to the last of them.

    Args:
        listed: positions z of the slices that show the class, ascending.
        parts: number of parts, odd.

    >>> support_slices([2, 3, 4, 5, 8, 9], parts=3)
    [3, 5, 9]
    """
    half = 1 / (2 * parts)
    step = (1 - 1 / parts) / (parts - 1) if parts > 1 else 0.0
    return [listed[int((half + step * part) * len(listed))] for part in range(parts)]


def part_of(z: int, first: int, last: int, parts: int) -> int:
    """Return the part, from 0, of a query scan in which slice z lies; the class shows from slice first to last.

    >>> print(*(part_of(z, 3, 9, parts=3) for z in range(2, 11)))
    0 0 0 1 1 2 2 2 2
    """
    if first == last:
        return 0
    return min(max(int((z - first) // ((last - first) / parts)), 0), parts - 1)


def slice_queries(
    scan: str, slices: int, listed: Sequence[int], parts: int, margin: int | None = 0
) -> Iterator[SliceQuery]:
    """Yield all slices of a query scan, each with its part and whether it is scored.

    Args:
        scan: id of the scan.
        slices: number of its slices.
        listed: positions z of the slices that show the class, ascending; at least one.
        parts: number of parts of the range in which the class shows, which is known from the ground truth.
        margin: number of slices before and after that range that are scored as well; None scores all slices.
    """
    first, last = min(listed), max(listed)
    for z in range(slices):
        counts = margin is None or first - margin <= z <= last + margin
        yield SliceQuery(scan, z, part_of(z, first, last, parts), counts, z in listed)


@dataclass(frozen=True)
class EverySlice(Draw):
    """Draw in which every slice of the query scans is a query for each class of the fold.

    Attributes:
        parts: odd number of parts of a scan, each of which has a support of its own.
        margin: how many slices before the first and after the last one that shows the class are scored as well; null
            scores all slices of a scan.
        support_scans: positions of the K support scans in the list of the fold's scans followed by the next K scans; by
            default the last K positions, which are the first scans of the next fold.
    """

    seed: int | dict[str, int] | None = None
    episodes: dict[str, Count] = field(default_factory=lambda: {OTHERS: "all"})
    empty_queries: bool = True
    parts: int = 3
    margin: int | None = 0
    support_scans: tuple[int, ...] = ()

    draws_slices: ClassVar[bool] = True
    empty_queries_show_anything: ClassVar[bool] = True
    seed_may_be_index: ClassVar[bool] = True
    all_episodes: ClassVar[str] = "all slices of the fold"
    published: ClassVar[Mapping[str, ListsAndDraw]] = dict.fromkeys(
        ("chaost2", "sabs"), ListsAndDraw("own", "none", "fixed support set")
    )
    may_be_shorter: ClassVar[bool] = True
    without_training: ClassVar[str] = (
        "test a method that learns from the scans alone, such as alpnet, or one that was trained on another data set "
        "(--ckpt FILE)"
    )

    # Which episodes are there?

    def data(self, data: Any, fold: int = 0, shot: int = 1) -> Any:
        return super().data(_volumes(data), fold, shot)

    def official_episodes(self, data: Any, task: Task) -> OfficialEpisodes:
        """Return the scored slices of `task` as episodes: classes ascending, then scans, then slices.

        Raises:
            SettingsError: the images of the data set are not slices of scans.
            DataError: a scan does not show a class of the fold.
        """
        volumes = _volumes(data)
        every = list(self._episodes(volumes, task))
        number = len(every) if task.episodes is None else min(task.episodes, len(every))
        chosen = [every[place * len(every) // number] for place in range(number)]  # of all classes and scans
        episodes = tuple(
            Episode(place, slice_name(one.scan, one.z), cls if one.shows else 0, (cls,), (supports[one.part],))
            for place, (cls, one, supports) in enumerate(chosen)
        )
        lists = OFFICIAL if volumes.scans == volumes.published_scans else DERIVED
        shown = {cls: dict(volumes.class_slices[cls]) for cls in sorted(volumes.class_slices)}
        sha256 = hashlib.sha256(json.dumps([volumes.scans, shown], separators=(",", ":")).encode()).hexdigest()
        return OfficialEpisodes(
            episodes, volumes.test_classes(task.fold), task.episodes or len(every), len(every), lists, sha256, sha256,
            first={"slices": True},
        )  # fmt: skip

    def _episodes(self, data: VolumeData, task: Task) -> Iterator[tuple[int, SliceQuery, Sequence[tuple[str, ...]]]]:
        """Yield class, query, and by part the supports, one of each support scan."""
        scans = self.scans(data, task)
        for cls in sorted(data.test_classes(task.fold)):
            listed = data.class_slices[cls]
            for scan in (*scans.queries, *scans.supports):
                if not listed.get(scan):
                    raise DataError(
                        f"the scan {scan} of {data.name} does not show {data.name_of(cls)}; expected the classes of "
                        "the fold in its scans, without which there are no parts; look at its labels, or choose a fold "
                        "without it"
                    )
            middles = [support_slices(listed[scan], self.parts) for scan in scans.supports]
            supports = [
                tuple(slice_name(scan, own[part]) for scan, own in zip(scans.supports, middles, strict=True))
                for part in range(self.parts)
            ]
            for scan in scans.queries:
                for query in slice_queries(scan, len(data.slices(scan)), listed[scan], self.parts, self.margin):
                    if query.counts:
                        yield cls, query, supports

    def scans(self, data: VolumeData, task: Task) -> FoldScans:
        """Return the ids of the query, support and training scans of a test."""
        if self.support_scans and len(self.support_scans) != task.shot:
            raise SettingsError(
                f"support_scans has {len(self.support_scans)} places and the test {task.shot} shots; expected a place "
                "for each shot"
            )
        fold = data.fold_scans(task.fold, task.shot)
        within = len(fold.queries) + len(fold.supports)
        if any(not -within <= place < within for place in self.support_scans):
            raise SettingsError(
                f"support_scans is {list(self.support_scans)}; expected places from {-within} to {within - 1}, of the "
                "scans of a fold and of its supports"
            )
        return data.fold_scans(task.fold, task.shot, self.support_scans or None)

    def may_be_empty(self, task: Task) -> bool:
        """Return True: a slice between two that show the class may lack it."""
        return True

    # In words

    @property
    def default_description(self) -> str:  # type: ignore[override]
        """How slices and supports are chosen, in words."""
        return (
            f"nothing is drawn: each class of the fold in each slice of each scan of the fold. A scan has {self.parts} "
            "parts of the range in which the truth shows the class; the support is the middle slice of the same part "
            "of the next fold's first scan, by the list of its slices with the class"
        )

    def seed_words(self) -> str:
        return "none: nothing is drawn"

    def seeds_condition(self, dataset: str) -> str:
        return "none"

    def title(self, header: Header) -> str:
        return f"{header.dataset} · {header.way}-way {header.shot}-shot · slices of scans · {header.rules}"

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        where = "in every slice of a scan" if self.margin is None else "from the first to the last slice that shows it"
        notes.append(
            f"a class counts {where}. Which support a query gets follows from where its truth shows the class, as in "
            "all papers of this test; without the truth nobody can segment so"
        )
        notes.append("intervals and tests take each scan as one sample: n images are n scans")
        return notes

    def choices(self) -> list[Choice]:
        counted = (
            "all of a scan: false alarms count wherever they are"
            if self.margin is None
            else f"from the first to the last slice whose truth shows the class, and {self.margin} beside: false "
            "alarms elsewhere are free"
        )
        empty = Choice("empty queries", "slices between those that show the class, which a scan may have")
        choices = [empty if one.label == empty.label else one for one in super().choices()]
        return [*choices, Choice("slices that count", counted)]

    def check(self) -> None:
        super().check()
        if self.parts < 1 or self.parts % 2 == 0:
            raise SettingsError(f"parts is {self.parts}, expected an odd number: the middle of the list is of one part")
        if self.margin is not None and self.margin < 0:
            raise SettingsError(f"margin is {self.margin}, expected 0 or more, or null for all slices")


def _volumes(data: Any) -> VolumeData:
    """Return a data set of volumes. Raises SettingsError for any other."""
    if not isinstance(data, VolumeData):
        raise SettingsError(
            f"{data.name} has photos, and the test is one of slices of scans; choose the data set chaost2 or sabs, or "
            "another protocol"
        )
    return data


DRAWS: Mapping[str, type[Draw]] = {"every slice": EverySlice}
"""Name of a rule in files -> the draw."""
