"""A fixed support set: these labelled images are all that there is, and everything else is asked (fixed-supports.md B).

In a draw, all queries are answered with the same supports. Several draws say how much of a score is luck with the
supports; all of them ask the same queries.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from math import comb
from typing import Any, ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED, Part, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import ALL_IN_TEST, ALL_OTHERS, NO_SEED, SEEDS
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.draws.further import queries_apart
from fsbench.protocols.provider import Provider
from fsbench.protocols.words import OTHERS, Choice, number_of, value_on
from fsbench.scores.estimate import FEW_FREE, FEW_QUERIES
from fsbench.scores.run_lengths import RUN_LENGTHS, SUPPORT_SETS, independent_sets

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

    The set of a draw with more shots contains that of the same draw with fewer, over all classes; a class alone may
    have other images, where one of them was drawn for an earlier class.

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
    """A class has fewer images than its supports need; with class number 0, the list of all possible supports has."""

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


class OwnSets(Provider):
    """The support sets that a data set names itself, and the images that may be supports."""

    data: SegmentationData

    def named(self) -> tuple[tuple[str, ...], ...]:
        """Return the named support sets, which replace the drawn ones; () if there are none."""
        return ()

    def training(self) -> Sequence[str] | None:
        """Return the images of the training list; None if one list has supports and queries.

        Raises:
            SettingsError: the data set has no such list, and what its images have in common is not known.
            DataError: the list is absent or damaged.
        """
        return self.data.candidates("trn")


NAMED = "named_supports"
"""Entry of a manifest's header: whether the data set names the supports, rather than the seed."""
UNSHOWN = "unshown_classes"
"""Entry of a manifest's header: {class: number of draws in which no support shows it}."""
UNASKED = "unasked_classes"
"""Entry of a manifest's header: the classes that no query shows."""
ONE_LIST = "one_list"
"""Entry of a manifest's header: number of images of the list that supports and queries are both from."""


@dataclass(frozen=True)
class OneSet(Draw):
    """Draw in which all queries of a draw share one support set, for anybody's folder.

    A data set may name the support sets (`OwnSets`); K is then the number of images of a set.

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
    own_entries: ClassVar[tuple[str, ...]] = (RUN_LENGTHS,)
    supports_serve_all: ClassVar[bool] = True
    shots_note: ClassVar[str] = (
        "each draw with more shots has the supports of the draw with fewer; a folder with a single list asks only "
        "images that are no supports, so fewer with more shots"
    )
    may_be_shorter: ClassVar[bool] = True
    all_episodes: ClassVar[str] = ALL_OTHERS.word
    unasked: ClassVar[str] = "leaves the mean over classes"
    """What becomes of a class that no query shows, as the end of a note; it states what `counting.absent` does."""

    # Which episodes are there?

    def named(self, data: SegmentationData) -> tuple[tuple[str, ...], ...]:
        """Return the support sets that the data set names, which replace drawn ones; () if there are none."""
        return OwnSets.of(data).named()

    def with_own_ways(self, data: Any, task: Task) -> Task:
        named = self.named(data)
        if named and task.shot not in (1, len(named[0])):
            raise SettingsError(
                f"shot is {task.shot}, and {data.name} names sets of {len(named[0])} supports; leave --shot out"
            )
        if named and task.seed is not None:
            raise SettingsError(f"{data.name} names its supports, so that no seed draws them; leave --test-seed out")
        return replace(task, way=len(self.classes(data, task)), shot=len(named[0]) if named else task.shot)

    def check_task(self, name: str, data: Any, task: Task) -> None:
        super().check_task(name, data, task)
        if task.way != (number := len(self.classes(data, task))):
            raise SettingsError(
                f"the protocol {name} asks for all {number} classes at once, found way {task.way}; expected way "
                f"{number}. A training has no episodes of it to choose a checkpoint on: {self.without_training}"
            )

    def classes(self, data: SegmentationData, task: Task) -> list[int]:
        """Return the numbers of the classes that are asked for; with `drop_small`, those with enough supports."""
        classes = sorted(data.test_classes(task.fold))
        if not task.drop_small or self.per == "set" or self.named(data):
            return classes
        pool, queries = self.lists(data)
        shown, seed = _shown(data, _part(queries), pool, classes), self.seed_on(data.name, task) or 0
        for run in range(self.runs):
            while classes and (small := _too_few(shown, classes, task.shot, seed + run)):
                classes.remove(small)
        if not classes:
            raise DataError(
                f"{data.name} fold {task.fold}: no class has {task.shot} images that may be supports; lower --shot, or "
                "add images"
            )
        return classes

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the supports of all draws, and ask every query once in each; reads label maps.

        With fewer episodes than there are, every draw asks the same first queries.

        Raises:
            SettingsError: there are fewer episodes than draws.
            DataError: a class has too few images, or a named support is unknown or shows no class.
        """
        classes = self.classes(data, task)
        pool, queries = self.lists(data)
        shown, named = _shown(data, _part(queries), pool, classes), self.named(data)
        if queries is not None:  # any labelled image may be named
            also = [name for name in chain.from_iterable(named) if name not in shown and name in queries]
            shown = shown | _shown(data, "val", also, classes)
        draws = self.support_sets(data, task, shown)
        if queries is None and not named:  # each draw costs queries
            while len(draws) > 1 and not _enough(_apart(data, asked(draws, pool, None), draws), pool):
                draws.pop()
        every = _apart(data, self.asked(draws, pool, queries), draws)
        if not every:
            raise DataError(
                f"{data.name}: the {len(pool)} images are supports, or belong to one, and none is left to be asked; "
                "lower --shot, or add images"
            )
        official = len(every) * len(draws)
        if task.episodes is not None and task.episodes < len(draws):
            raise SettingsError(
                f"episodes is {task.episodes}, and each of the {len(draws)} sets of supports is asked the same images; "
                f"expected {len(draws)} episodes or more"
            )
        every = every if task.episodes is None else every[: task.episodes // len(draws)]
        labels, lengths = _shown(data, "val", every, classes), [len(every)] * len(draws)
        by_class = [_by_class(own, shown, classes) for own in draws]
        episodes = [
            Episode(sum(lengths[:run]) + place, name, min(labels[name], default=0), tuple(classes), ways)
            for run, ways in enumerate(by_class)
            for place, name in enumerate(every)
        ]
        unshown = {
            str(number): lacking
            for place, number in enumerate(classes)
            if (lacking := sum(not ways[place] for ways in by_class))
        }
        first: dict[str, Any] = {RUN_LENGTHS: lengths}
        first |= ({NAMED: True} if named else {}) | ({UNSHOWN: unshown} if unshown else {})
        seen = {number for name in every for number in data.class_pixels(name)[0]}
        further = {
            ONE_LIST: len(pool) if queries is None else 0,
            UNASKED: [number for number in classes if number not in seen],
            SUPPORT_SETS: overlap([set(chain.from_iterable(own.values())) for own in draws]),
        }
        first |= {name: value for name, value in further.items() if value}
        dropped = sorted(set(data.test_classes(task.fold)) - set(classes))
        return OfficialEpisodes(
            tuple(episodes), classes, len(episodes), official, DERIVED, dropped=dropped, first=first
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
            DataError: a class has too few images, or a named support is unknown or shows no class.
        """
        if named := self.named(data):
            _check_named(data, task, named, shown)
            return [{0: own} for own in named]
        classes, seed = self.classes(data, task), self.seed_on(data.name, task) or 0
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
        """Return the queries of all draws, in order: by default those that are a support of no draw.

        Args:
            draws: the supports of each draw, see `drawn_supports`.
            pool: images that may be supports.
            queries: the list of queries; None if all other images of the pool are asked.
        """
        return asked(draws, pool, queries)

    def lists(self, data: SegmentationData) -> tuple[Sequence[str], Sequence[str] | None]:
        """Return the images that may be supports, and the queries; None if there is one list for both."""
        training, queries = OwnSets.of(data).training(), data.candidates("val")
        return (queries, None) if training is None else (training, queries)

    def fixed_episode_count(self, dataset: str) -> int | None:
        return None

    def check_draws(self, task: Task) -> None:
        raise SettingsError(
            f"a test with a fixed support set has {self.runs} draws of it already, each for all queries; leave draws "
            f"(found {task.draws}) and nested_in (found {task.nested_in}) out"
        )

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        pool, queries = self.lists(data)
        return [*pool, *(queries or ())]

    def has_shot(self, header: Header, supports: int) -> bool:
        of_class = self.per == "class" and not header.protocol_entries.get(NAMED)
        return supports >= header.shot if of_class else supports <= header.shot

    # In words

    @property
    def description(self) -> str:  # type: ignore[override]
        """How supports and queries are chosen, in words."""
        of = "of each class" if self.per == "class" else "in all"
        return (
            f"for each of {self.runs} draws once: K images {of}, which serve all queries; every other image is asked "
            "about all classes"
        )

    def title(self, header: Header) -> str:
        lengths = header.protocol_entries[RUN_LENGTHS]
        named = header.protocol_entries.get(NAMED)
        images = number_of(header.shot, "named image" if named else "labelled image")
        of = "" if named else " of each" if self.per == "class" and header.way > 1 else " in all"
        return (
            f"{header.dataset} · {_classes(header)}, {images}{of} · {header.rules} · "
            f"{number_of(len(lengths), 'set' if named else 'draw')} of supports, "
            f"{number_of(max(lengths), 'image')} asked"
        )

    def notes(self, header: Header) -> list[str]:
        notes, stated = super().notes(header), header.protocol_entries
        draws, asked = len(stated[RUN_LENGTHS]), max(stated[RUN_LENGTHS])
        for number, lacking in stated.get(UNSHOWN, {}).items():
            where = f"in {lacking} of {number_of(draws, 'draw')}"
            name = header.class_names[number]
            notes.append(f"no support shows {name} {where}; methods of this suite predict nothing as it there")
        for unasked in stated.get(UNASKED, ()):
            notes.append(f"no query shows {header.class_names[str(unasked)]}, which {self.unasked}")
        notes += _claims(header, self.per)
        if draws < self.runs and not stated.get(NAMED):
            number = number_of(draws, "draw")
            notes.append(f"{number} of supports instead of {self.runs}, which would leave too few images to ask")
        if draws * asked < header.official_episodes:
            notes.append(f"each draw asks the same first {asked} of {header.official_episodes // draws} images")
        if listed := stated.get(ONE_LIST):
            few = asked < FEWEST or 2 * asked < listed
            less = f": of its {number_of(listed, 'image')}, {asked} {'is' if asked == 1 else 'are'} asked, which is few"
            notes.append(f"one list: supports and queries are from val{less if few else ''}")
        return notes

    def further_choices(self) -> list[Choice]:
        return [Choice("draws", f"{self.runs} sets of supports; a score is the mean over them, and its interval holds "
                       "for other queries and other supports from where these come from")]  # fmt: skip

    def check(self) -> None:
        super().check()
        if self.runs < 1:
            raise SettingsError(f"runs is {self.runs}, expected 1 or more")


def overlap(sets: Sequence[Collection[str]]) -> dict[str, Any]:
    """Return how many of R support sets differ, and how many sets without a common image they are worth.

    The latter is e of statistics.md §2: 1 for equal sets, R for sets that share no image.

    Returns:
        {"different": number, "disjoint": e}; {} if no image is in two sets.

    >>> overlap([{"a", "b"}, {"b", "c"}, {"a", "b"}])
    {'different': 2, 'disjoint': 1.29}
    """
    used = Counter(name for own in sets for name in own)
    if not used or max(used.values()) == 1:
        return {}
    disjoint = len(sets) * used.total() / sum(count**2 for count in used.values())
    return {"different": len(set(map(frozenset, sets))), "disjoint": round(disjoint, 2)}


def _apart(data: SegmentationData, queries: Sequence[str], draws: Sequence[Mapping[int, Sequence[str]]]) -> list[str]:
    """Return the queries that show nothing that a support of any draw shows."""
    return queries_apart(data, queries, {name for draw in draws for name in chain(*draw.values())})


def least_images(shot: int, classes: int) -> int:
    """Return about how many images in one list give an interval with K = `shot` images of each class.

    Five draws leave half of the images to be asked, and ten, and are hardly ever equal.

    >>> least_images(2, 1), least_images(1, 2)
    (21, 30)
    """
    draws = FEW_FREE + 1
    images = draws * shot * classes + max(FEW_QUERIES, draws * shot * classes)
    while comb(images // classes, shot) ** classes < 200:  # 10 pairs of draws, equal in 5 % of the tests
        images += 1
    return images


def _claims(header: Header, per: Per) -> list[str]:
    """Say what the draws do not tell of other supports: there are few, or they share images; and what would."""
    stated = header.protocol_entries
    draws, asked = len(stated[RUN_LENGTHS]), max(stated[RUN_LENGTHS])
    different, sets = independent_sets(header), stated.get(SUPPORT_SETS)
    shared = (
        "" if sets is None else f"; {draws} draws share images, and are worth {sets['disjoint']:.1f} that share none"
    )
    way_out = ""
    if ONE_LIST in stated and not stated.get(NAMED):
        classes = header.way if per == "class" else 1
        there = asked + draws * header.shot * classes
        needed = {shot: least_images(shot, classes) for shot in (*range(header.shot - 1, 0, -1), *range(1, 4))}
        if fitting := [shot for shot, images in needed.items() if images <= there and shot != header.shot]:
            way_out = f"; with these images --shot {fitting[0]} may give one"
        else:
            images, shot = min((images, shot) for shot, images in needed.items())
            way_out = f"; about {images} images with --shot {shot} give one"
    few = [f"an interval needs {FEW_QUERIES} images that are asked, found {asked}{way_out}"] * (asked < FEW_QUERIES)
    if different > FEW_FREE:
        more = "so that they spread less than supports from elsewhere"
        return few + ([f"{shared.removeprefix('; ')}, {more}"] if shared else [])
    if sets is not None and sets["different"] < draws:
        found = f"{draws} draws have {number_of(sets['different'], 'different set')} of supports, which"
    else:
        found = "one set of supports" if draws == 1 else f"{draws} sets of supports"
    verb = "is" if draws == 1 or (sets and sets["different"] == 1) else "are"
    return few or [
        f"{found} {verb} too few for an interval that holds for other supports, too; {FEW_FREE + 1} are needed"
        f"{shared if different == 1 and draws > 1 else ''}{way_out}"
    ]


def _classes(header: Header) -> str:
    return "1 class" if header.way == 1 else f"{header.way} classes at once"


def _shown(data: SegmentationData, part: Part, names: Sequence[str], classes: Collection[int]) -> dict[str, set[int]]:
    """Return {image: those of `classes` that it shows}."""
    data.count_pixels(part, names)
    least = max(data.min_pixels, 1)
    return {
        name: {n for n, pixels in data.class_pixels(name)[0].items() if pixels >= least and n in classes}
        for name in names
    }


def _part(queries: Sequence[str] | None) -> Part:
    """Return the part whose list has the possible supports: that of the queries where there is no other list."""
    return "val" if queries is None else "trn"


def _too_few(shown: Mapping[str, Collection[int]], classes: Sequence[int], shot: int, seed: int) -> int | None:
    """Return the first class that has too few supports in a draw; None if each has enough."""
    try:
        drawn_supports(shown, classes, shot, seed)
    except TooFewSupports as error:
        return error.number
    return None


def _check_named(
    data: SegmentationData, task: Task, named: Sequence[Sequence[str]], shown: Mapping[str, Collection[int]]
) -> None:
    """Raise DataError if a named support is in no list of the data set, or supports show no class of the fold."""
    if unknown := [name for own in named for name in own if name not in shown]:
        raise DataError(
            f"{data.name} names the support {unknown[0]}, which is in no list of images; expected names of labelled "
            "images, such as " + ", ".join(list(shown)[:2])
        )
    if data.folds == 1 and (blank := [name for own in named for name in own if not shown[name]]):
        raise DataError(
            f"{data.name} names the support {blank[0]}, whose label map shows none of the classes; name another image, "
            "or complete its label map"
        )
    if any(not any(shown[name] for name in own) for own in named):
        raise DataError(f"{data.name} names supports that show no class of fold {task.fold}; name others")


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

    seed_may_be_index: ClassVar[bool] = True
    all_episodes: ClassVar[str] = ALL_IN_TEST.word
    unasked: ClassVar[str] = "counts as 0"

    def named(self, data: SegmentationData) -> tuple[tuple[str, ...], ...]:
        return ()

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
    def description(self) -> str:  # type: ignore[override]
        by_class = "; ".join(
            f"on {name} K // {number} of each class" for name, number in self.divided_by.items() if number > 1
        )
        return (
            "nothing is drawn: K training images, evenly spaced in the order of their list, serve all queries"
            f"{f' ({by_class})' if by_class else ''}; every test image is asked about all classes"
        )

    def seed_words(self) -> str:
        return "none: nothing is drawn"

    def conditions(self, dataset: str) -> dict[str, str]:
        return super().conditions(dataset) | {SEEDS.key: NO_SEED.word}

    def title(self, header: Header) -> str:
        images = number_of(self._images(header), "labelled image")
        return (
            f"{header.dataset} · {_classes(header)}, {images} in all · {header.rules} · "
            f"{number_of(sum(header.protocol_entries[RUN_LENGTHS]), 'image')} asked"
        )

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        divisor = value_on(self.divided_by, header.dataset)
        if divisor > 1:
            notes.append(
                f"K = {header.shot} of the authors' program is {header.shot // divisor} images of each class, "
                f"{self._images(header)} in all: it divides K by {divisor}"
            )
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
