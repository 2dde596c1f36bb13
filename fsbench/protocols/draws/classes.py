"""Draws of few-shot classification as FORT tests it (fort.md §1, §4).

The authors' episodes depend on how many random numbers a method used before, so no two methods saw the same ones and no
list can be reproduced. These follow from (seed, the episode's number) alone and are the same for every method.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.copies import SubjectOf, likeness
from fsbench.data.dataset import ClassificationData
from fsbench.data.episodes.episode import ClassificationEpisode
from fsbench.data.episodes.manifest import CLASSIFICATION, Header, Manifest
from fsbench.data.episodes.task import ClassificationTask
from fsbench.data.list_substitutes import print_once
from fsbench.protocols.conditions import EPISODE_DRAW, EPISODES, SEEDS
from fsbench.protocols.draws.draw import Count, Draw, OfficialEpisodes
from fsbench.protocols.draws.further import SupportRedraw, draw_distinct
from fsbench.protocols.episode_rules.pools import lower_shots
from fsbench.protocols.words import OTHERS, Choice

OFFICIAL_CLASS_SIZE = 50
"""Classes with fewer images are repeated up to so many entries in the authors' program; an image may then be support
and query of one episode (§2). Without, `min_class_size` is None."""


@dataclass(frozen=True)
class ImagesOfClasses(Draw):
    """Draw of a classification test: N classes, with K + q images of each."""

    episodes: dict[str, Count] = field(default_factory=lambda: {OTHERS: 2000})
    ways: Literal["any", "one"] = "any"

    kind: ClassVar[str | None] = CLASSIFICATION
    has_masks: ClassVar[bool] = False
    description: ClassVar[str] = (
        "each by itself from (seed, its index): N classes, then K + q images of each. The authors' depend on how many "
        "random numbers a method used before"
    )

    def official_episodes(self, data: ClassificationData, task: ClassificationTask) -> OfficialEpisodes:
        """Draw the episodes of a classification test.

        Raises:
            SettingsError: the task has more ways than the data set has classes.
            DataError: a class has too few images.
        """
        sizes = [len(images) for images in data.images]
        for note in data.notes:
            print_once(f"{data.name}: {note}")
        drawn = classification_episodes(
            sizes, task.way, task.shot, task.queries, task.seed, task.min_class_size, data.class_names
        )
        numbers = range(1, len(sizes) + 1)
        return OfficialEpisodes(
            tuple(islice(drawn, task.episodes)), list(numbers), task.episodes, self.episode_count(data.name, 0),
            data.origin, all_sha256=data.sha256,
        )  # fmt: skip

    def task_of(self, header: Header) -> ClassificationTask:
        stated = {one.name: getattr(header, one.name) for one in ClassificationTask.arguments()}
        absent = {"queries": header.queries or 0, "seed": header.seed or 0}
        return ClassificationTask(**stated | absent | {"episodes": header.requested})

    def with_own_ways(self, data: ClassificationData, task: ClassificationTask) -> ClassificationTask:  # type: ignore[override]
        return task

    def header_entries(
        self, data: ClassificationData, task: ClassificationTask, drawn: OfficialEpisodes
    ) -> dict[str, Any]:
        """Return the entries {name: value} of a classification manifest's header after data set and protocol.

        Fold, setting and empty queries have no meaning here, but they are part of the file format and of its hash.
        """
        sizes = [len(images) for images in data.images]
        return {
            "fold": 0,
            "folds": 1,
            "way": task.way,
            "shot": task.shot,
            "queries": task.queries,
            "setting": "original",
            "classes": "all",
            "empty": False,
            "seed": task.seed,
            "min_class_size": task.min_class_size,
            "filled_classes": sum(size < (task.min_class_size or 0) for size in sizes),
            "small_classes": sum(size < OFFICIAL_CLASS_SIZE for size in sizes),
            "lists": drawn.lists,
            "all_lists_sha256": drawn.all_sha256,
            "dropped_classes": [],
            "requested": drawn.requested,
            "official_episodes": drawn.official,
            "class_ids": list(drawn.class_ids),
            "class_names": {str(number): name for number, name in zip(drawn.class_ids, data.class_names, strict=True)},
        }

    def check_task(self, name: str, data: ClassificationData, task: ClassificationTask) -> None:  # type: ignore[override]
        """Raise SettingsError for a fold other than 0, which classification tests do not have."""
        if task.fold != 0:
            raise SettingsError(f"unknown fold {task.fold} for {data.name}; classification has no folds, only 0")

    def check_draws(self, task: ClassificationTask) -> None:  # type: ignore[override]
        """Do nothing: further draws are always possible."""

    def first_shots(self, episode: ClassificationEpisode, shot: int) -> ClassificationEpisode:
        return replace(episode, support=tuple(way[:shot] for way in episode.support))

    def support_redraw(self, data: ClassificationData, task: ClassificationTask, official: Manifest) -> SupportRedraw:
        alike = likeness(data, chain.from_iterable(data.images))
        subjects, photos = _shown(data, alike.subject_of), _shown(data, alike.photo_of)

        def redraw(episode: ClassificationEpisode, rng: np.random.Generator) -> ClassificationEpisode:
            support = []
            for number in episode.classes:
                for shown in (subjects, photos):
                    asked = _at(shown, episode.classes, episode.query)
                    others = [place for place, one in enumerate(shown[number]) if one not in asked]
                    if len(others) >= task.shot:
                        break
                if not others:
                    raise DataError(
                        f"class '{data.class_names[number]}' has {len(photos[number])} images, all of them queries of "
                        f"episode {episode.number} or copies of some; expected one more for other supports; lower the "
                        "queries, add images, or leave draws and copies out"
                    )
                support.append(draw_distinct(rng, others, task.shot))
            return replace(episode, support=tuple(support))

        return redraw

    def without_copies(self, data: ClassificationData, task: ClassificationTask, official: Manifest) -> Manifest:
        """Return the manifest with supports replaced that show what a query of the same episode shows."""
        if data.source.kind != "own":
            return official
        shown = _shown(data, likeness(data, chain.from_iterable(data.images)).subject_of)
        if len(set(chain.from_iterable(shown))) == sum(map(len, shown)):
            return official
        redraw, episodes = self.support_redraw(data, task, official), list[Any](official.episodes)
        for place, episode in enumerate(episodes):
            if _joined(shown, episode):
                episodes[place] = redraw(episode, np.random.default_rng([task.seed, episode.number, 0]))
        return replace(official, episodes=tuple(episodes))

    def title(self, header: Header) -> str:
        return (
            f"{header.dataset} · classification · {header.way}-way {header.shot}-shot, {header.queries} "
            f"queries a class · {header.rules} · {header.requested} episodes"
        )

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        if header.filled_classes:
            notes.append(
                f"{header.filled_classes} of {len(header.class_ids)} classes have fewer than "
                f"{header.min_class_size} images and are repeated up to that, as the authors do: an image may be a "
                "support and a query of one episode"
            )
        return notes

    def choices(self) -> list[Choice]:
        count = self.episode_count("", 0)
        return [
            Choice(EPISODE_DRAW.label, self.description),
            Choice(SEEDS.label, self.seed_words()),
            Choice(EPISODES.label, f"{count}, and there are no folds"),
            Choice("ways", "N classes at once, of all that the data set has"),
        ]


Shown = Sequence[Sequence[str]]
"""By class what each of its images shows: a photo, or a subject; see `fsbench.data.copies.Likeness`."""


def _shown(data: ClassificationData, same: SubjectOf) -> Shown:
    return [[same(name) for name in images] for images in data.images]


def _at(shown: Shown, classes: Sequence[int], places: Sequence[Sequence[int]]) -> set[str]:
    """Return what the images at some places of each of the classes show."""
    return {shown[number][place] for number, own in zip(classes, places, strict=True) for place in own}


def _joined(shown: Shown, episode: ClassificationEpisode) -> bool:
    """Return whether a support shows what a query shows; the query itself may be one in a class that is repeated."""
    repeated = zip(episode.support, episode.query, strict=True)
    supports = [[place for place in own if place not in asked] for own, asked in repeated]
    asked = _at(shown, episode.classes, episode.query)
    return not asked.isdisjoint(_at(shown, episode.classes, supports))


def classification_episodes(
    class_sizes: Sequence[int],
    way: int,
    shot: int,
    queries: int,
    seed: int = 0,
    min_class_size: int | None = None,
    names: Sequence[str] = (),
) -> Iterator[ClassificationEpisode]:
    """Yield classification episodes without end, each drawn from the seed and its own number alone.

    Args:
        class_sizes: number of images of every class.
        way, shot, queries: N classes, K supports and q queries of each class.
        seed: the seed of the list of episodes.
        min_class_size: smaller classes are repeated in a circle up to this number of images; None leaves them
            unchanged.
        names: names of the classes for error messages; without them messages give positions.

    Raises SettingsError for more ways than classes, DataError for classes with fewer than K + q entries.
    """
    if min(way, shot, queries) < 1:
        raise SettingsError(f"way {way}, shot {shot} and queries {queries}: expected 1 or more of each")
    if way > len(class_sizes):
        raise SettingsError(f"way {way} is more than the {len(class_sizes)} classes of the data set; lower WAY")
    entries = [max(size, min_class_size or 0) if size else 0 for size in class_sizes]
    small = [number for number, count in enumerate(entries) if count < shot + queries]
    if small:
        first = repr(names[small[0]]) if names else small[0]
        raise DataError(
            f"{len(small)} of {len(entries)} classes have fewer than {shot + queries} images (class {first} has "
            f"{class_sizes[small[0]]}), expected {shot} for support and {queries} queries; "
            f"{lower_shots(shot)}or take fewer queries"
        )
    return _draw(class_sizes, entries, way, shot, queries, seed)


def _draw(
    sizes: Sequence[int], entries: Sequence[int], way: int, shot: int, queries: int, seed: int
) -> Iterator[ClassificationEpisode]:
    number = 0
    while True:
        rng = np.random.Generator(np.random.PCG64(seed=[seed, number]))
        classes = rng.permutation(len(sizes))[:way].tolist()
        drawn = [(rng.permutation(entries[c])[: shot + queries] % sizes[c]).tolist() for c in classes]
        yield ClassificationEpisode(
            number,
            tuple(classes),
            tuple(tuple(images[:shot]) for images in drawn),
            tuple(tuple(images[shot:]) for images in drawn),
        )
        number += 1


DRAWS: Mapping[str, type[Draw]] = {"labelled images": ImagesOfClasses}
"""Name of a rule in files -> the draw."""
