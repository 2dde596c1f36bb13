"""A fixed support set: these labelled images are all that there is, and everything else is asked (fixed-supports.md B).

In a draw, all queries are answered with the same supports. Several draws say how much of a score is luck with the
supports; all of them ask the same queries.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.draws.further import queries_apart
from fsbench.protocols.words import OTHERS, Choice, value_on
from fsbench.scores.run_lengths import RUN_LENGTHS

Per = Literal["class", "set"]
"""Whether K images are drawn for each class, or K in all."""
FEWEST = 10
"""Number of queries below which fewer draws are taken from a folder with a single list."""


def ordered(names: Iterable[str]) -> list[str]:
    """Return names in the order of their bytes in UTF-8."""
    return sorted(names, key=str.encode)


def drawn_supports(
    shown: Mapping[str, Collection[int]], classes: Sequence[int], shot: int, seed: int, per: Per = "class"
) -> dict[int, tuple[str, ...]]:
    """Return the supports of one draw (§9): for each class its K images; with `per="set"` all K images as class 0.

    The first images of a draw with more shots are those of the draw with fewer.

    Args:
        shown: {image that may be a support: the classes that it shows}.
        classes: class numbers, ascending.
        shot: K.
        seed: seed of the draw.
        per: whether K images are drawn for each class, or K in all.

    Raises:
        DataError: there are fewer than K images, of a class or in all.
    """
    rng, names = np.random.RandomState(seed), ordered(shown)
    found: dict[int, tuple[str, ...]] = {}
    taken: set[str] = set()
    for number in classes if per == "class" else (0,):
        own = [name for name in names if number in shown[name]] if number else names
        free = [name for name in (own[place] for place in rng.permutation(len(own))) if name not in taken]
        if len(free) < shot:
            raise TooFewSupports(number, len(free), shot)
        found[number] = tuple(free[:shot])
        taken.update(found[number])
    return found


class TooFewSupports(DataError):
    """A class, or the list for class 0, has fewer images than its supports need."""

    def __init__(self, number: int, there: int, shot: int):
        super().__init__(f"class {number} has {there} images that may be supports, and {shot} are needed")
        self.number, self.there = number, there


def asked(
    draws: Sequence[Mapping[int, Sequence[str]]], pool: Iterable[str], queries: Iterable[str] | None
) -> list[str]:
    """Return the queries of all draws, in the order of their names' bytes: none is a support of any draw.

    Args:
        draws: the supports of each draw, see `drawn_supports`.
        pool: images that may be supports.
        queries: the list of queries, of a folder that has one; else all other images of the pool are asked.
    """
    supports = {name for draw in draws for name in chain.from_iterable(draw.values())}
    return ordered(name for name in (pool if queries is None else queries) if name not in supports)


@dataclass(frozen=True)
class OneSet(Draw):
    """Draw in which all queries of a draw share one support set, for anybody's folder.

    Attributes:
        runs: R, number of draws of the supports.
        per: "class" draws K images of each class, "set" K in all.
    """

    episodes: dict[str, Count] = field(default_factory=lambda: {OTHERS: "all"})
    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True
    runs: int = 5
    per: Per = "class"

    shares_supports: ClassVar[bool] = True
    supports_serve_all: ClassVar[bool] = True
    empty_queries_show_anything: ClassVar[bool] = True
    may_be_shorter: ClassVar[bool] = True
    all_episodes: ClassVar[str] = "all other images"

    # Which episodes are there?

    def with_own_ways(self, data: Any, task: Task) -> Task:
        return replace(task, way=len(data.test_classes(task.fold)))

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the supports of all draws, and ask every query once in each; reads label maps.

        Raises:
            DataError: a class has too few images.
        """
        classes = sorted(data.test_classes(task.fold))
        pool, queries = self.lists(data)
        shown = _shown(data, "val" if queries is None else "trn", pool, classes)
        draws = self.support_sets(data, task, shown)
        if queries is None:  # each draw costs queries
            while len(draws) > 1 and not _enough(asked(draws, pool, None), pool):
                draws.pop()
        every = self.asked(draws, pool, queries)
        every = queries_apart(data, every, {name for own in draws for name in chain.from_iterable(own.values())})
        if not every:
            raise DataError(
                f"{data.name}: all {len(pool)} images are supports, and none is left to be asked; lower --shot, or add "
                "images"
            )
        requested = len(every) * len(draws) if task.episodes is None else min(task.episodes, len(every) * len(draws))
        labels = _shown(data, "val", every, classes)
        lengths = [len(every[: requested // len(draws) + (run < requested % len(draws))]) for run in range(len(draws))]
        episodes = [
            Episode(sum(lengths[:run]) + place, name, min(labels[name], default=0), tuple(classes), ways)
            for run, (own, length) in enumerate(zip(draws, lengths, strict=True))
            for ways in [_by_class(own, shown, classes)]
            for place, name in enumerate(every[:length])
        ]
        return OfficialEpisodes(
            tuple(episodes), classes, requested, len(every) * len(draws), DERIVED, first={RUN_LENGTHS: lengths}
        )

    def support_sets(
        self, data: SegmentationData, task: Task, shown: Mapping[str, Collection[int]]
    ) -> list[dict[int, tuple[str, ...]]]:
        """Return the supports of all draws, each as `drawn_supports` does.

        Args:
            data: the data set.
            task: the test.
            shown: {image that may be a support, in the order of their list: the classes that it shows}.

        Raises:
            DataError: a class has too few images.
        """
        classes, seed = sorted(data.test_classes(task.fold)), self.seed_on(data.name, task) or 0
        try:
            return [drawn_supports(shown, classes, task.shot, seed + run, self.per) for run in range(self.runs)]
        except TooFewSupports as error:
            whose = f"{data.name_of(error.number)} has" if error.number else "there are"
            raise DataError(
                f"{data.name} fold {task.fold}: {whose} {error.there} images that may be supports, and {task.shot} are "
                "needed; lower --shot, or add images"
            ) from error

    def asked(
        self, draws: Sequence[Mapping[int, Sequence[str]]], pool: Sequence[str], queries: Sequence[str] | None
    ) -> Sequence[str]:
        """Return the queries of all draws, in order; see the function `asked`."""
        return asked(draws, pool, queries)

    def lists(self, data: SegmentationData) -> tuple[Sequence[str], Sequence[str] | None]:
        """Return the images that may be supports, and the queries; None if there is one list for both."""
        queries = data.candidates("val")
        try:
            return data.candidates("trn"), queries
        except DataError:  # a folder of one list
            return queries, None

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        pool, queries = self.lists(data)
        return [*pool, *(queries or ())]

    def fixed_episode_count(self, dataset: str) -> int | None:
        return None

    def check_draws(self, task: Task) -> None:
        raise SettingsError(
            f"a test with a fixed support set has {self.runs} draws of it already, each for all queries; leave draws "
            f"(found {task.draws}) and nested_in (found {task.nested_in}) out"
        )

    # In words

    @property
    def default_description(self) -> str:  # type: ignore[override]
        """How supports and queries are chosen, in words."""
        of = "of each class" if self.per == "class" else "in all"
        return (
            f"for each of {self.runs} draws once: K images {of}, which serve all queries; every other image is asked "
            "about all classes"
        )

    def title(self, header: Header) -> str:
        lengths = header.protocol_entries[RUN_LENGTHS]
        return (
            f"{header.dataset} · {header.way} classes at once, {header.shot} labelled images "
            f"{'of each' if self.per == 'class' else 'in all'} · {header.rules} · {len(lengths)} draws of them, "
            f"{max(lengths)} images asked"
        )

    def notes(self, header: Header) -> list[str]:
        notes, draws = super().notes(header), len(header.protocol_entries[RUN_LENGTHS])
        if draws < self.runs:
            notes.append(f"{draws} draws of supports instead of {self.runs}, which would leave too few images to ask")
        return notes

    def further_choices(self) -> list[Choice]:
        return [Choice("draws", f"{self.runs} sets of supports; a score is the mean over them, and its interval holds "
                       "for other queries and other supports from where these come from")]  # fmt: skip

    def check(self) -> None:
        super().check()
        if self.runs < 1:
            raise SettingsError(f"runs is {self.runs}, expected 1 or more")


def _shown(data: SegmentationData, part: Any, names: Sequence[str], classes: Collection[int]) -> dict[str, set[int]]:
    """Return {image: those of `classes` that it shows}."""
    data.count_pixels(part, names)
    return {name: {n for n, pixels in data.class_pixels(name)[0].items() if pixels and n in classes} for name in names}


def _by_class(
    draw: Mapping[int, Sequence[str]], shown: Mapping[str, Collection[int]], classes: Sequence[int]
) -> tuple[tuple[str, ...], ...]:
    """Return for each class the supports of a draw that show it, those that were drawn for it first."""
    every = list(dict.fromkeys(chain.from_iterable(draw.values())))
    return tuple(
        tuple(dict.fromkeys((*draw.get(number, ()), *(name for name in every if number in shown[name]))))
        for number in classes
    )


def _enough(queries: Sequence[str], pool: Sequence[str]) -> bool:
    """Return whether enough images are left to be asked: ten, and half of all."""
    return len(queries) >= FEWEST and 2 * len(queries) >= len(pool)


def places(number: int, wanted: int) -> list[int]:
    """Return `wanted` places, from 0, that are spread over a list by halving what lies between two of them (§3).

    The left half is denser where halving does not come out even. A list of one image gives it twice.

    Args:
        number: length of the list.
        wanted: number of places; fewer are returned if the list has fewer.

    >>> places(9, 3), places(9, 7), places(1, 2)
    ([0, 4, 8], [0, 1, 2, 3, 4, 6, 8], [0, 0])
    """
    if number == 0 or wanted == 0:
        return []
    found = [0, number - 1] if wanted > 1 else [0]
    while len(found) < wanted:
        new: list[int] = []
        for left, right in pairwise(found):
            middle = (left + right) // 2
            if middle not in found:
                new.append(middle)
            if len(found) + len(new) == wanted:
                break
        if not new:
            break
        found = sorted([*found, *new])
    return found


@dataclass(frozen=True)
class EvenlySpaced(OneSet):
    """Draw of DistillFSS's program: one support set, evenly spaced in the list of training images (§3).

    The test images are asked in the order of their list. A class is answered with the supports that show it, which may
    be none.

    Attributes:
        divided_by: {data set: number that K is divided by, rounded down, for the images of each class}. 1 stands for K
            images of the whole list, whatever they show.
    """

    seed: int | dict[str, int] | None = None
    runs: int = 1
    per: Per = "set"
    divided_by: dict[str, int] = field(default_factory=lambda: {OTHERS: 1})

    any_supports: ClassVar[bool] = True
    seed_may_be_index: ClassVar[bool] = True
    all_episodes: ClassVar[str] = "all test images"

    def support_sets(
        self, data: SegmentationData, task: Task, shown: Mapping[str, Collection[int]]
    ) -> list[dict[int, tuple[str, ...]]]:
        """Return the images of the only draw, as those of class 0: in the order of their list, or class by class.

        Raises:
            SettingsError: K is less than what it is divided by.
            DataError: no support shows a class of the fold.
        """
        divisor = value_on(self.divided_by, data.name)
        if task.shot < divisor:
            raise SettingsError(
                f"shot is {task.shot}, and on {data.name} it is divided by {divisor} for the images of each class; "
                f"expected {divisor} or more"
            )
        lists = [self.lists(data)[0]]
        if divisor > 1:
            of_class: dict[int, list[str]] = {number: [] for number in sorted(data.test_classes(task.fold))}
            for name, number in data.listed_pairs("trn"):
                if number in of_class:
                    of_class[number].append(name)
            lists = list(of_class.values())
        found = [names[place] for names in lists for place in places(len(names), task.shot // divisor)]
        if not any(shown[name] for name in found):
            raise DataError(
                f"{data.name}: none of the {len(found)} supports shows a class of fold {task.fold}; raise --shot"
            )
        return [{0: tuple(found)}]

    def asked(
        self, draws: Sequence[Mapping[int, Sequence[str]]], pool: Sequence[str], queries: Sequence[str] | None
    ) -> Sequence[str]:
        """Return the test images in the order of their list.

        Raises:
            SettingsError: there is no list of test images beside that of training images.
        """
        if queries is None:
            raise SettingsError(
                "evenly spaced supports need a list of training images and one of test images; found one list; choose "
                "the protocol fixed_supports"
            )
        return queries

    # In words

    @property
    def default_description(self) -> str:  # type: ignore[override]
        by_class = "; ".join(
            f"on {name} K // {number} of each class" for name, number in self.divided_by.items() if number > 1
        )
        return (
            "nothing is drawn: K training images, evenly spaced in the order of their list, serve all queries"
            f"{f' ({by_class})' if by_class else ''}; every test image is asked about all classes"
        )

    def seed_words(self) -> str:
        return "none: nothing is drawn"

    def seeds_condition(self, dataset: str) -> str:
        return "none"

    def title(self, header: Header) -> str:
        classes, images = "1 class" if header.way == 1 else f"{header.way} classes at once", self._images(header)
        return (
            f"{header.dataset} · {classes}, {images} labelled images in all · {header.rules} · "
            f"{sum(header.protocol_entries[RUN_LENGTHS])} images asked"
        )

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        divisor = value_on(self.divided_by, header.dataset)
        if divisor > 1:
            notes.append(
                f"K = {header.shot} of the authors' program is {header.shot // divisor} images of each class, "
                f"{self._images(header)} in all: it divides K by {divisor}"
            )
        notes.append("there is one support set: scores and intervals are for these supports only")
        return notes

    def _images(self, header: Header) -> int:
        divisor = value_on(self.divided_by, header.dataset)
        return header.shot if divisor == 1 else header.shot // divisor * len(header.class_ids)

    def further_choices(self) -> list[Choice]:
        return [Choice("draws", "one support set, so that a score says nothing of other supports")]

    def check(self) -> None:
        super().check()
        if self.runs != 1:
            raise SettingsError(f"runs is {self.runs}; evenly spaced supports are one set, expected 1")


DRAWS: Mapping[str, type[Draw]] = {"one set": OneSet, "evenly spaced": EvenlySpaced}
"""Name of a rule in files -> the draw."""
