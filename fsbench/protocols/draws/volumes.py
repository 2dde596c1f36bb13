"""Tests on slices of scans: SSL-ALPNet's (alpnet.md §3), and those of later programs (scan-tests.md, all-slices.md).

Nothing is drawn. A class is segmented in all query scans of the fold, each of which is divided into parts; the support
of a query is the slice in the middle of the same part of the support scan. Programs differ in the slices that they ask,
in what parts follow from, and in the scan that gives the supports.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import FoldScans, VolumeData, slice_name
from fsbench.protocols.conditions import (
    ANY_OBJECT,
    FIXED_SET,
    NO_SEED,
    OWN_LISTS,
    SEEDS,
    SLICES_ALL,
    SLICES_IN_RANGE,
    SLICES_SHOWN,
    ListsAndDraw,
)
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.words import OTHERS, Choice

OFFICIAL = "official"
Counted = Literal["range", "shown", "all"]
"""Which slices of a query scan are asked and counted: those from the first to the last that shows the class, those that
show it, or all."""
PartsBy = Literal["range", "shown", "scan", "none"]
"""How a query scan is divided into parts: "range", the range of slices in which its truth shows the class; "shown", the
slices whose truth shows it; "scan", all its slices, without the truth; "none", it is one part."""
Setting2 = Literal["any label", "all labels"]
"""Which training slices setting 2 leaves out: those that show any class of the fold, or those that show all at once."""
Shots = Literal["scans", "slices", "whole scan"]
"""Where the K supports of a query come from: "scans", a slice of each of K scans; "slices", K slices of one scan;
"whole scan", all slices of one scan."""


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
        parts: number of parts.

    >>> support_slices([2, 3, 4, 5, 8, 9], parts=3), support_slices([2, 3, 4, 5, 8, 9], parts=1)
    ([3, 5, 9], [5])
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


def part_of_scan(z: int, slices: int, parts: int) -> int:
    """Return the part, from 0, of a scan of so many slices in which slice z lies; its truth is not used.

    >>> print(*(part_of_scan(z, 7, parts=3) for z in range(7)))
    0 0 0 1 1 2 2
    """
    return min(parts * z // slices, parts - 1)


def chunks(shown: int, parts: int) -> list[int]:
    """Return for each of `shown` slices that show a class, in order, its part of equally many of them (§4).

    >>> chunks(7, parts=3), chunks(1, parts=3), chunks(0, parts=3)
    ([0, 0, 1, 1, 2, 2, 2], [2], [])
    """
    ends = [int(end) for end in np.linspace(0, shown, parts + 1)]
    return [part for part in range(parts) for _ in range(ends[part], ends[part + 1])]


def slice_queries(
    scan: str,
    slices: int,
    listed: Sequence[int],
    parts: int,
    margin: int | None = 0,
    counted: Counted = "range",
    parts_by: PartsBy = "range",
) -> Iterator[SliceQuery]:
    """Yield all slices of a query scan, each with its part and whether it is scored.

    Args:
        scan: id of the scan.
        slices: number of its slices.
        listed: positions z of the slices that show the class, ascending; at least one if `counted` is "range".
        parts: number of parts.
        margin: number of slices before and after the range of `listed` that are scored as well; None scores all
            slices. Only for `counted` "range".
        counted, parts_by: see `EverySlice`. Slices that do not show the class have no part by "shown", here 0.
    """
    first, last = (min(listed), max(listed)) if listed else (0, 0)
    by_count = dict(zip(listed, chunks(len(listed), parts), strict=True))
    for z in range(slices):
        within = margin is None or first - margin <= z <= last + margin
        counts = {"range": within, "shown": z in by_count, "all": True}[counted]
        if parts_by == "range":
            part = part_of(z, first, last, parts)
        else:
            part = {"shown": by_count.get(z, 0), "scan": part_of_scan(z, slices, parts), "none": 0}[parts_by]
        yield SliceQuery(scan, z, part, counts, z in by_count)


@dataclass(frozen=True)
class EverySlice(Draw):
    """Draw in which slices of the query scans are queries for each class of the fold.

    Attributes:
        parts: number of parts of a scan, each of which has supports of its own.
        margin: how many slices before the first and after the last one that shows the class are scored as well; null
            scores all slices of a scan, in parts of that range. Other than 0 only for `counted: range`.
        support_scans: positions of the support scans in the list of the fold's scans followed by the next K scans; by
            default the last positions, which are the first scans of the next fold.
        in_list_order: whether that list is in the order of all scans, so that the last fold begins with the first scan;
            if not, scans are a circle, and the first scan stands at the end.
        counted: slices that are asked and scored: "range" (from the first to the last that shows the class), "shown"
            (those that show it), or "all" of a scan. "range" and "shown" use the query's truth.
        parts_by: what the parts of a query scan follow from: the "range" in which its truth shows the class, the number
            of slices that are "shown" in its truth, the "scan", or "none": there is one part.
        shots: what K shots are: a slice of each of K "scans", K "slices" of one scan, or the "whole scan", whose slices
            are the supports of K = 1.
        whole_scans: whether slices are not cut to 256 x 256 pixels, and all normalised by their own scan, CT too.
        setting2: which slices training on superpixels leaves out if `filter_novel` is true: those that show "any label"
            of the fold's classes, or only those that show "all labels" at once (§6 of scan-tests.md).
    """

    seed: int | dict[str, int] | None = None
    episodes: dict[str, Count] = field(default_factory=lambda: {OTHERS: "all"})
    empty_queries: bool = True
    parts: int = 3
    margin: int | None = 0
    support_scans: tuple[int, ...] = ()
    in_list_order: bool = False
    counted: Counted = "range"
    parts_by: PartsBy = "range"
    shots: Shots = "scans"
    whole_scans: bool = False
    setting2: Setting2 = "any label"

    draws_slices: ClassVar[bool] = True
    seed_may_be_index: ClassVar[bool] = True
    published: ClassVar[Mapping[str, ListsAndDraw]] = dict.fromkeys(
        ("chaost2", "sabs", "cmr"), ListsAndDraw(OWN_LISTS.word, ANY_OBJECT.word, FIXED_SET.word)
    )
    may_be_shorter: ClassVar[bool] = True
    without_training: ClassVar[str] = (
        "test a method that learns from the scans alone, such as alpnet, or one that was trained on another data set "
        "(--ckpt FILE)"
    )

    # Which episodes are there?

    def data(self, data: Any, fold: int = 0, shot: int = 1) -> Any:
        volumes = _volumes(data)
        return super().data(volumes.whole_scans() if self.whole_scans else volumes, fold, self._scans_of(shot))

    def official_episodes(self, data: Any, task: Task) -> OfficialEpisodes:
        """Return the scored slices of `task` as episodes: classes ascending, then scans, then slices.

        Raises:
            SettingsError: the images of the data set are not slices of scans.
            DataError: a class of the fold is not in the support scan, or not in a query scan whose slices are counted
                by the range in which its truth shows the class.
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
        """Yield class, query, and by part the supports."""
        scans = self.scans(data, task)
        for cls in sorted(data.test_classes(task.fold)):
            listed = data.class_slices[cls]
            for scan in (*(scans.queries if self.counted == "range" else ()), *scans.supports):
                if not listed.get(scan):
                    raise DataError(
                        f"the scan {scan} of {data.name} does not show {data.name_of(cls)}; expected the classes of "
                        "the fold in its scans, without which there are no parts; look at its labels, or choose a fold "
                        "without it"
                    )
            supports = self.supports(data, task, cls)
            for scan in scans.queries:
                length, shown = len(data.slices(scan)), listed.get(scan, ())
                for query in slice_queries(scan, length, shown, self.parts, self.margin, self.counted, self.parts_by):
                    if query.counts:
                        yield cls, query, supports

    def supports(self, data: VolumeData, task: Task, number: int) -> list[tuple[str, ...]]:
        """Return by part the supports of class `number`, whose slices must be in the support scans."""
        scans, listed = self.scans(data, task).supports, data.class_slices[number]
        if self.shots == "whole scan":
            return [tuple(data.slices(scans[0]))]
        if self.shots == "slices":
            return [tuple(slice_name(scans[0], z) for z in support_slices(listed[scans[0]], task.shot))]
        middles = [support_slices(listed[scan], self.parts) for scan in scans]
        return [
            tuple(slice_name(scan, own[part]) for scan, own in zip(scans, middles, strict=True))
            for part in range(self.parts)
        ]

    def _scans_of(self, shot: int) -> int:
        """Return the number of scans that give the supports of a test of so many shots."""
        return shot if self.shots == "scans" else 1

    def scans(self, data: VolumeData, task: Task) -> FoldScans:
        """Return the ids of the query, support and training scans of a test."""
        number = self._scans_of(task.shot)
        if self.support_scans and len(self.support_scans) != number:
            raise SettingsError(
                f"support_scans has {len(self.support_scans)} places and the test {task.shot} shots; expected a place "
                "for each shot"
            )
        if self.shots == "whole scan" and task.shot != 1:
            raise SettingsError(f"the supports are all slices of one scan, found {task.shot} shots; expected 1")
        fold = data.fold_scans(task.fold, number)
        within = len(fold.queries) + len(fold.supports)
        if any(not -within <= place < within for place in self.support_scans):
            raise SettingsError(
                f"support_scans is {list(self.support_scans)}; expected places from {-within} to {within - 1}, of the "
                "scans of a fold and of its supports"
            )
        return data.fold_scans(task.fold, number, self.support_scans or None, self.in_list_order)

    @property
    def supports_serve_all(self) -> bool:  # type: ignore[override]
        """Whether a class has more than K supports: all slices of a scan."""
        return self.shots == "whole scan"

    def has_shot(self, header: Header, supports: int) -> bool:
        return supports >= 1 if self.supports_serve_all else super().has_shot(header, supports)

    def may_be_empty(self, task: Task) -> bool:
        """Return whether a slice that is asked may lack the class, as one between two that show it may."""
        return self.empty_queries

    @property
    def uses_truth(self) -> bool:
        """Whether the truth of a query decides which slices are asked, or which supports they get."""
        return self._truth_decides_slices or self._truth_decides_parts

    @property
    def _truth_decides_slices(self) -> bool:
        return self.counted != "all" and self.margin is not None

    @property
    def _truth_decides_parts(self) -> bool:
        return self.parts_by in ("range", "shown")

    @property
    def filters_any(self) -> bool:  # type: ignore[override]
        """Whether training without the fold's classes leaves out every slice that shows one of them."""
        return self.setting2 == "any label"

    # In words

    @property
    def description(self) -> str:  # type: ignore[override]
        """How slices and supports are chosen, in words."""
        asked = {
            "range": "nothing is drawn: each class of the fold in each slice of each scan of the fold",
            "shown": "nothing is drawn: each class of the fold in each slice of the fold's scans whose truth shows it",
            "all": "nothing is drawn: each class of the fold in all slices of each scan of the fold",
        }[self.counted]
        return f"{asked}. {self._parts_words} {self._supports_words}"

    @property
    def _parts_words(self) -> str:
        """How a query scan is divided, in words; and what else its truth decides, where it has one part."""
        used = "its truth tells which slices are asked;" if self._truth_decides_slices else ""
        return {
            "range": f"A scan has {self.parts} parts of the range in which the truth shows the class;",
            "shown": f"These slices of a scan are {self.parts} parts of equally many;",
            "scan": f"A scan has {self.parts} parts of equally many of its slices, without its truth;",
            "none": f"A scan has one part, and {used}" if used else "Nothing of a query's truth is used;",
        }[self.parts_by]

    @property
    def _supports_words(self) -> str:
        if not self.support_scans:
            whose = "of the next fold's first scan"
        elif self.in_list_order and self.support_scans == (-1,):
            whose = "of the last scan of the fold and its next one, in the order of their numbers"
        else:
            order = " in the order of their numbers" * self.in_list_order
            places = ", ".join(map(str, self.support_scans))
            whose = f"of the scan at place {places}, from 0, of the fold and its next one{order}"
        if self.shots == "whole scan":
            return f"the supports are all slices {whose}"
        if self.shots == "slices":
            return f"the supports are K slices {whose}, K = 1: the middle one, by the list of its slices with the class"
        if self.parts_by == "none":
            return f"the support is the middle slice {whose}, by the list of its slices with the class"
        return f"the support is the middle slice of the same part {whose}, by the list of its slices with the class"

    @property
    def all_episodes(self) -> str:  # type: ignore[override]
        """Which slices are asked, as the atlas words the number of episodes."""
        return {"range": SLICES_IN_RANGE, "shown": SLICES_SHOWN, "all": SLICES_ALL}[self.counted].word

    def lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        circle_of_hearts = dataset == "cmr" and not self.in_list_order  # ALPNet's program has no cardiac test
        return None if circle_of_hearts else super().lists_and_draw(dataset)

    def seed_words(self) -> str:
        return "none: nothing is drawn"

    def conditions(self, dataset: str) -> dict[str, str]:
        return super().conditions(dataset) | {SEEDS.key: NO_SEED.word}

    def title(self, header: Header) -> str:
        return f"{header.dataset} · {header.way}-way {header.shot}-shot · slices of scans · {header.rules}"

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        if not self.uses_truth:
            notes.append(
                "all slices of a scan are asked and count, and nothing of a query's truth is used: false alarms count "
                "wherever they are"
            )
        elif self.counted == "shown":
            notes.append(f"only slices whose truth shows the class are asked and count{self._support_follows}")
        elif self.margin is None:
            notes.append(f"a class counts in every slice of a scan, and nobody tests so{self._support_follows}")
        else:
            where = "from the first to the last slice that shows it"
            where += f", and {self.margin} beside" if self.margin else ", as ALPNet counts it"
            notes.append(f"a class counts {where}{self._support_follows}")
        if self.margin is None:
            notes.append("tests of all slices that do not use the query's truth are adnet and alpnet_all_slices")
        notes += self._scan_notes(header.dataset)
        notes.append("intervals and tests take each scan as one sample: n images are n scans")
        return notes

    @property
    def _support_follows(self) -> str:
        """How a note on a test that uses a query's truth ends."""
        what = {
            "range": ". Which support a query gets follows from where its truth shows the class",
            "shown": ". How many these are decides which support a query gets",
        }.get(self.parts_by, "")
        return f"{what}; without the truth nobody can segment so"

    def _scan_notes(self, dataset: str) -> list[str]:
        """Return a note on scans that are asked twice or never; one on hearts where ALPNet's rule is not published."""
        note = ""
        if self.in_list_order and self.support_scans == (-1,):
            note = (
                "in the last fold, the first scan is asked (as in fold 0) and the last one is the support, which is "
                "never asked"
            )
        elif self.in_list_order and len(self.support_scans) == 1:
            note = (
                f"the scan at place {self.support_scans[0]}, from 0, of each fold's list is never asked, and the scans "
                "that two folds share are asked twice"
            )
        elif dataset == "cmr" and not self.in_list_order and not self.support_scans:
            note = (
                "every scan is asked once, as ALPNet does in the abdomen; no published program does so on cardiac scans"
            )
        return [note] if note else []

    def choices(self) -> list[Choice]:
        if self.counted == "all" or self.margin is None:
            counted = "all of a scan: false alarms count wherever they are"
        elif self.counted == "shown":
            counted = "those whose truth shows the class: false alarms in all others are free"
        else:
            counted = (
                f"from the first to the last slice whose truth shows the class, and {self.margin} beside: false "
                "alarms elsewhere are free"
            )
        empty = Choice(
            "empty queries",
            "slices between those that show the class, which a scan may have"
            if self.counted == "range"
            else "slices without the class, which most scans have",
        )
        replaced = [empty if one.label == empty.label and self.empty_queries else one for one in super().choices()]
        choices = [*replaced, Choice("slices that count", counted)]
        if self.counted != "range" or self.parts_by != "range":
            used = {
                (True, True): "which slices are asked, and their parts",
                (True, False): "which slices are asked",
                (False, True): "the parts of its scan",
                (False, False): "not used",
            }[self._truth_decides_slices, self._truth_decides_parts]
            choices.append(Choice("truth of the query", used))
        if self.whole_scans:
            choices.append(
                Choice("intensities", "each slice is normalised by its own scan, CT too, and none is cut to 256 x 256")
            )
        left_out = "any class of the fold" if self.filters_any else "all classes of the fold at once; others stay"
        choices.append(Choice("setting 2 of training", f"FILTER_NOVEL=1 leaves out slices that show {left_out}"))
        return choices

    def check(self) -> None:
        super().check()
        if self.parts < 1:
            raise SettingsError(f"parts is {self.parts}, expected 1 or more")
        if self.parts_by == "range" and self.parts % 2 == 0:
            raise SettingsError(f"parts is {self.parts}, expected an odd number: the middle of the list is of one part")
        if self.margin is not None and self.margin < 0:
            raise SettingsError(f"margin is {self.margin}, expected 0 or more, or null for all slices")
        if self.margin != 0 and self.counted != "range":
            raise SettingsError(
                f"margin is {self.margin}, and counted {self.counted}; expected margin 0, or counted range"
            )
        if self.counted == "all" and self.parts_by in ("range", "shown"):
            raise SettingsError(
                f"counted is all, and parts_by {self.parts_by}, which takes the query's truth; expected parts_by scan "
                "or none (or counted range with margin null, which is nobody's test)"
            )
        if self.parts_by == "shown" and self.counted != "shown":
            raise SettingsError(
                f"parts_by is shown, and counted {self.counted}: other slices have no part; expected counted shown"
            )
        if self.shots != "scans" and (self.parts_by, self.parts) != ("none", 1):
            raise SettingsError(
                f"shots is {self.shots}, parts_by {self.parts_by} and parts {self.parts}; expected parts_by none and "
                "parts 1, which shots of one scan need"
            )
        if self.parts_by == "none" and self.parts != 1:
            raise SettingsError(f"parts_by is none, and parts {self.parts}; expected parts 1")
        if self.empty_queries == (self.counted == "shown"):
            raise SettingsError(
                f"empty_queries is {str(self.empty_queries).lower()}, and counted {self.counted}; expected false with "
                "counted shown, and true with any other"
            )


def _volumes(data: Any) -> VolumeData:
    """Return a data set of volumes. Raises SettingsError for any other."""
    if not isinstance(data, VolumeData):
        raise SettingsError(
            f"{data.name} has photos, and the test is one of slices of scans; choose a data set of scans (fsbench list "
            "datasets names them), or another protocol"
        )
    return data


DRAWS: Mapping[str, type[Draw]] = {"every slice": EverySlice}
"""Name of a rule in files -> the draw."""
