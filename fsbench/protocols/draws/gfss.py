"""Generalised few-shot segmentation: draws of tests of base and novel classes at once on validation images (gfss.md).

An episode is about all base classes, which have no support, and then about novel ones, which have. A method takes part
that labels both (`Segmenter.segments_base_classes`). In DIaM's test every query of a run is answered with the same N·K
supports, drawn once; a test is several runs, whose scores are averaged.
"""

import hashlib
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import DERIVED, Pair, PairList, Part, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import (
    ALL_OF_VAL,
    BY_SHUFFLING,
    BY_TRIALS,
    GFSS_LISTS,
    LARGE_SUPPORTS,
    NOT_STATED,
    ListsAndDraw,
)
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.draws.further import queries_apart
from fsbench.protocols.episode_rules.image_lists import ImageLists
from fsbench.protocols.episode_rules.pools import LEAVE_OUT
from fsbench.protocols.provider import Provider
from fsbench.protocols.words import OTHERS, Choice, value_on, words_by_dataset

Refill = Literal["official", "own_class"]
Name = TypeVar("Name")


class SupportsOfRun(NamedTuple):
    """One run's supports (K for each novel class) and the queries that share them."""

    supports: tuple[tuple[str, ...], ...]
    queries: tuple[str, ...]


def draw_runs(
    queries: Sequence[str],
    candidates: Mapping[int, Sequence[str]],
    shown: Callable[[str], Collection[int]],
    *,
    shot: int,
    runs: int,
    seed: int = 2023,
    only_one_novel: bool = True,
    refill: Refill = "official",
) -> Iterator[SupportsOfRun]:
    """Yield the supports and queries of consecutive runs, drawn from one Python generator (gfss.md §5).

    Args:
        queries: images that may be queries, in list order.
        candidates: {novel class, ascending: images that may be its supports, in list order}.
        shown: gives the classes that an image's label map shows.
        shot: number of supports K of each class.
        runs: number of runs.
        seed: the seed of the generator before the first run.
        only_one_novel: whether supports that show a second novel class are left out.
        refill: how a class with fewer than K images gets K supports: "official" repeats supports drawn so far, mostly
            of other classes, as the authors' program does; any other value repeats the class's own.

    Raises:
        DataError: a class has no image that may be its support.
    """
    rng, novel = random.Random(seed), set(candidates)
    for _ in range(runs):
        listed: list[tuple[str, ...]] = []
        so_far: list[str] = []
        for number, images in candidates.items():
            places = list(range(len(images)))
            rng.shuffle(places)
            own: list[str] = []
            for place in places:
                name = images[place]
                if name in own or (only_one_novel and len(novel.intersection(shown(name))) > 1):
                    continue
                own.append(name)
                if len(own) == shot:
                    break
            if not own:
                raise DataError(
                    f"class {number} has no image that may be a support: {len(images)} are large enough, and none of "
                    "them shows it alone; use the complete validation images, or another fold"
                )
            so_far += own
            if len(own) < shot:
                filled = rng.choices(range(len(own)), k=shot - len(own))
                source = so_far if refill == "official" else list(own)
                more = [source[place] for place in filled]
                own, so_far = own + more, so_far + more
            listed.append(tuple(own))
        taken = {name for own in listed for name in own}
        yield SupportsOfRun(tuple(listed), tuple(name for name in queries if name not in taken))


class ValidationImages(Provider):
    """The validation images of a data set in the authors' order, by which supports are drawn."""

    data: SegmentationData

    def view(self) -> SegmentationData:
        """Return the data set with the authors' label maps; by default the data set itself."""
        return self.data

    def images(self) -> tuple[Sequence[str], str]:
        """Return the names of the validation images in order, and in a word where the order comes from."""
        return self.data.candidates("val"), DERIVED


def lines_sha256(lines: Sequence[str]) -> str:
    """Return the sha256 of a text file with these lines, each ended by a newline."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


@dataclass(frozen=True)
class BaseAndNovel(Draw):
    """Base class of draws whose episodes ask for base and novel classes at once (generalised few-shot segmentation)."""

    ways: Literal["any", "one"] = "any"
    empty_queries: bool = True

    asks_base_classes: ClassVar[bool] = True
    own_entries: ClassVar[tuple[str, ...]] = ("novel_ids",)
    shares_supports: ClassVar[bool] = True

    def data(self, data: SegmentationData, fold: int = 0, shot: int = 1) -> SegmentationData:
        return ValidationImages.of(data).view()

    def images(self, data: SegmentationData) -> PairList:
        """Return the validation images in order, as pairs (name, 0), since each is a query for all classes."""
        names, origin = ValidationImages.of(data).images()
        return PairList(tuple[Pair, ...]((name, 0) for name in names), origin)

    def official(
        self,
        data: SegmentationData,
        task: Task,
        novel: Sequence[int],
        episodes: Sequence[Episode],
        official: int,
        requested: int,
        dropped: Sequence[int],
        **first: Any,
    ) -> OfficialEpisodes:
        """Return `episodes` with the entries of their manifest's header, whose classes are base ones, then novel.

        Args:
            data: the data set.
            task: the settings of the test.
            novel: numbers of the novel classes.
            episodes: the episodes.
            official: number of episodes that the protocol has.
            requested: number of episodes that the user asked for.
            dropped: numbers of novel classes that were left out for lack of images.
            **first: further entries of the header.
        """
        pairs, ordered = self.images(data), [*sorted(data.train_classes(task.fold)), *sorted(novel)]
        entries = {"all_classes": True, "novel_ids": sorted(novel), **first}
        return OfficialEpisodes(
            tuple(episodes), ordered, requested, official, pairs.origin, pairs.sha256, pairs.sha256, dropped, entries
        )

    def novel_classes(self, header: Header) -> list[int]:
        return list(header.protocol_entries["novel_ids"])


@dataclass(frozen=True)
class SupportsForAll(BaseAndNovel):
    """Base class of draws in which all queries of a run share one set of supports.

    Attributes:
        support_pixels: {data set: least number of pixels of its class that a support must show}.
    """

    support_pixels: dict[str, int] = field(default_factory=lambda: {OTHERS: 16 * 32 * 32, "demo": 256})

    def least_pixels(self, dataset: str) -> int:
        """Return the least number of pixels of its class that a support must show on a data set."""
        return int(value_on(self.support_pixels, dataset))

    def lists_and_draw(self, dataset: str) -> ListsAndDraw | None:
        stated = super().lists_and_draw(dataset)
        if stated is None or LARGE_SUPPORTS.word.format(self.least_pixels(dataset)) == stated.min_object:
            return stated
        return stated._replace(min_object=NOT_STATED)

    def further_choices(self) -> list[Choice]:
        return [
            Choice("supports show", f"at least so many pixels of the class: {words_by_dataset(self.support_pixels)}")
        ]


@dataclass(frozen=True)
class FixedSupports(SupportsForAll):
    """Draw of DIaM: in each of several runs, all queries share one set of supports.

    Attributes:
        episodes: {data set: number of queries of a run}, drawn anew for each run, or "all" for every image that is no
            support.
        runs: number of runs, each with supports of its own.
        only_one_novel: whether images that show a second novel class cannot be supports.
        refill: how a class with fewer than K images gets K supports: "official" repeats supports of any class drawn so
            far; any other value repeats the class's own.
    """

    runs: int = 5
    only_one_novel: bool = True
    refill: Refill = "official"

    published: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw(GFSS_LISTS.word, LARGE_SUPPORTS.word.format(16384), BY_SHUFFLING.word)
        for name in ("pascal", "pascal10i", "coco")
    }
    own_entries: ClassVar[tuple[str, ...]] = ("novel_ids", "run_lengths")
    all_episodes: ClassVar[str] = ALL_OF_VAL.word
    without_training: ClassVar[str] = "its base model is trained with --method pspnet --protocol pfenet"
    description: ClassVar[str] = (
        "for each run once, from one stream of Python's generator: K images of each novel class, which serve all "
        "queries; queries are all other validation images that show a class"
    )

    # Which episodes are there?

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of all runs of `task`; reads label maps.

        Raises:
            DataError: a novel class has no image that may be its support.
        """
        novel, base = sorted(data.test_classes(task.fold)), sorted(data.train_classes(task.fold))
        names = [name for name, _ in self.images(data).pairs]
        data.count_pixels("val", names)
        classes = {*novel, *base}
        pixels = {name: data.class_pixels(name)[0] for name in names}
        queries, candidates = self.candidates(data.name, pixels, classes, novel)
        few = [n for n in novel if not any(self._may_support(pixels[name], novel) for name in candidates[n])]
        if few and task.drop_small:
            novel, candidates = [n for n in novel if n not in few], {n: candidates[n] for n in novel if n not in few}
        if few and (not novel or not task.drop_small):
            raise DataError(
                f"{data.name} fold {task.fold}: no validation image can support "
                f"{', '.join(data.name_of(n) for n in few)}: of {self.least_pixels(data.name)} pixels or more"
                f"{', without another novel class' * self.only_one_novel}; use the complete validation images"
                + (
                    ": without these classes, which --drop-small leaves out, none remains"
                    if task.drop_small
                    else f", or {LEAVE_OUT}"
                )
            )
        ordered = (*base, *novel)
        queries = [name for name in queries if any(pixels[name].get(number) for number in ordered)]
        seed = self.seed_on(data.name, task) or 0
        drawn = draw_runs(
            queries, candidates, pixels.__getitem__, shot=task.shot, runs=self.runs, seed=seed,
            only_one_novel=self.only_one_novel, refill=self.refill,
        )  # fmt: skip
        episodes: list[Episode] = []
        lengths, official = [], 0
        for run, (supports, others) in enumerate(drawn):
            apart = queries_apart(data, others, chain.from_iterable(supports))
            asked = self._queries(data, apart, run, seed)
            official += len(asked)
            if task.episodes is not None:  # so many over all runs
                asked = asked[: task.episodes // self.runs + (run < task.episodes % self.runs)]
            lengths.append(len(asked))
            for name in asked:
                shown = min(number for number in ordered if pixels[name].get(number))
                ways = (*((),) * len(base), *supports)
                episodes.append(Episode(len(episodes), name, shown, ordered, ways))
        return self.official(data, task, novel, episodes, official, len(episodes), few, run_lengths=lengths)

    def fixed_episode_count(self, dataset: str) -> int | None:
        return None  # a run has no more queries than there are

    def candidates(
        self, dataset: str, pixels: Mapping[Name, Mapping[int, int]], classes: Collection[int], novel: Sequence[int]
    ) -> tuple[list[Name], dict[int, list[Name]]]:
        """Return (names of images that may be queries, {novel class: names of images that may be its supports}).

        Args:
            dataset: name of the data set.
            pixels: {image, in list order: {label: its pixels}}.
            classes: numbers of all classes.
            novel: numbers of the novel classes.
        """
        least = self.least_pixels(dataset)
        queries = [name for name, shown in pixels.items() if any(shown.get(number) for number in classes)]
        supports = {n: [name for name, shown in pixels.items() if shown.get(n, 0) >= least] for n in novel}
        return queries, supports

    def _may_support(self, shown: Collection[int], novel: Collection[int]) -> bool:
        """Return True if an image that shows these classes may be a support."""
        return not self.only_one_novel or len(set(novel).intersection(shown)) <= 1

    def _queries(self, data: SegmentationData, queries: Sequence[str], run: int, seed: int) -> Sequence[str]:
        """Return the queries of a run, in list order."""
        count = value_on(self.episodes, data.name)
        if count == "all" or count >= len(queries):
            return queries
        chosen = random.Random(repr(("queries", seed, run))).sample(range(len(queries)), count)
        return [queries[place] for place in sorted(chosen)]

    def check_draws(self, task: Task) -> None:
        raise SettingsError(
            f"a test with fixed supports has {self.runs} draws of its supports already, each for all queries; leave "
            f"draws (found {task.draws}) and nested_in (found {task.nested_in}) out"
        )

    # In which words?

    def title(self, header: Header) -> str:
        novel, runs = len(self.novel_classes(header)), len(header.protocol_entries["run_lengths"])
        return (
            f"{header.dataset} · {len(header.class_ids) - novel} base and {novel} novel classes at once, {header.shot}-"
            f"shot · {header.rules} · {runs} runs, {header.requested} queries a fold"
        )

    def check(self) -> None:
        super().check()
        if self.runs < 1:
            raise SettingsError(f"runs is {self.runs}, expected 1 or more")

    def further_choices(self) -> list[Choice]:
        return [
            Choice("runs", f"scores are means over {self.runs} draws of the supports"),
            *super().further_choices(),
            Choice(
                "supports with other novel classes",
                "none: a support shows one novel class" if self.only_one_novel else "allowed, all of them are labelled",
            ),
            Choice(
                "slots of a class with too few images",
                "filled from all supports so far, mostly of other classes, as the authors' program does"
                if self.refill == "official"
                else "filled from the class's own supports",
            ),
        ]


def fixed_supports(
    shown: Mapping[str, Mapping[int, int]], novel: Sequence[int], shot: int, seed: int, least: int
) -> dict[int, tuple[str, ...]]:
    """Draw the supports that all queries share, as CAPL's program does.

    Args:
        shown: {training image, in list order: {class: its pixels}}.
        novel: the novel classes, ascending.
        shot: number of supports K.
        seed: the seed of Python's generator.
        least: least number of pixels of its class that a support shows.

    Returns:
        {novel class: its K supports}; images repeat where a class has too few. A class for which no trial finds an
        image is left out.
    """
    rng = random.Random(seed)
    lists: dict[int, list[str]] = {number: [] for number in novel}
    for name, pixels in shown.items():
        first = next((number for number in novel if pixels.get(number)), None)
        if first is not None:
            lists[first].append(name)
    found: dict[int, tuple[str, ...]] = {}
    for number, images in lists.items():
        chosen: list[str] = []
        trials = 0
        while len(chosen) < shot and trials < len(images):
            name = images[rng.randint(0, len(images) - 1)]
            trials += 1
            alone = not any(shown[name].get(other) for other in novel if other != number)
            if name not in chosen and alone and shown[name][number] >= least:
                chosen.append(name)
        if chosen:
            found[number] = (*chosen, *(rng.choice(chosen) for _ in range(shot - len(chosen))))
    return found


def queries_by_novel_class(shown: Mapping[str, Mapping[int, int]], novel: Sequence[int]) -> list[str]:
    """Return the names of images that show a class, in the order of CAPL's program.

    Args:
        shown: {validation image, in list order: {class: its pixels}}, without background and void.
        novel: the novel classes, ascending.

    Returns:
        First the images of each novel class (by the lowest one that an image shows), then images without a novel class.
    """
    first = {name: next((n for n in novel if pixels.get(n)), None) for name, pixels in shown.items() if pixels}
    return [name for number in (*novel, None) for name, found in first.items() if found == number]


@dataclass(frozen=True)
class TrialSupports(SupportsForAll):
    """Draw of CAPL: all queries share supports that are drawn from training images by random trials."""

    published: ClassVar[Mapping[str, ListsAndDraw]] = {
        "pascal": ListsAndDraw(GFSS_LISTS.word, LARGE_SUPPORTS.word.format(16384), BY_TRIALS.word)
    }
    all_episodes: ClassVar[str] = ALL_OF_VAL.word
    description: ClassVar[str] = (
        "once, from one stream of Python's generator: K training images of each novel class, by trials; queries are "
        "all validation images that show a class, those of a novel class first"
    )

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of `task`; reads label maps.

        Raises:
            DataError: no trial found a support of a novel class.
        """
        novel, base = sorted(data.test_classes(task.fold)), sorted(data.train_classes(task.fold))
        least = self.least_pixels(data.name)
        trained = _shown(data, "trn", ImageLists.of(data).image_order("trn"), {*novel, *base})
        supports = fixed_supports(trained, novel, task.shot, self.seed_on(data.name, task) or 0, least)
        few = [number for number in novel if number not in supports]
        if few and (not supports or not task.drop_small):
            raise DataError(
                f"{data.name} fold {task.fold}: trials, as many as training images show a class, found none for "
                f"{', '.join(map(data.name_of, few))} of {least} pixels or more, without another novel class; use the "
                f"complete training images, take another seed (TEST_SEED), or {LEAVE_OUT}"
            )
        novel = [number for number in novel if number not in few]
        listed = [name for name, _ in self.images(data).pairs]
        tested = _shown(data, "val", listed, {*novel, *base})
        queries = queries_apart(data, queries_by_novel_class(tested, novel), chain.from_iterable(supports.values()))
        requested = len(queries) if task.episodes is None else min(task.episodes, len(queries))
        ordered, ways = (*base, *novel), (*((),) * len(base), *(supports[number] for number in novel))
        episodes = [
            Episode(place, name, min(n for n in ordered if tested[name].get(n)), ordered, ways)
            for place, name in enumerate(queries[:requested])
        ]
        return self.official(data, task, novel, episodes, len(queries), requested, few, run_lengths=[len(episodes)])

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        return [*super().tested_images(data, setting), *ImageLists.of(data).image_order("trn")]

    def check_draws(self, task: Task) -> None:
        raise SettingsError(
            f"a test with fixed supports has one draw of them, for all queries; leave draws (found {task.draws}) and "
            f"nested_in (found {task.nested_in}) out, or take another seed"
        )


def _shown(
    data: SegmentationData, part: Part, names: Sequence[str], classes: Collection[int]
) -> dict[str, dict[int, int]]:
    """Return image -> pixels of each of `classes` that it shows."""
    data.count_pixels(part, names)
    return {name: {n: k for n, k in data.class_pixels(name)[0].items() if n in classes and k} for name in names}


DRAWS: Mapping[str, type[Draw]] = {"fixed supports": FixedSupports, "trial supports": TrialSupports}
"""Name of a rule in files -> the draw."""
