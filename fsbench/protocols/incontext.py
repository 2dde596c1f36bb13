"""In-context segmentation as Matcher, GF-SAM and INSID3 evaluate it (incontext-protocol).

Data sets with rules of their own (§3.3-3.5) have pure functions of annotations and a private
`numpy.random.RandomState`, which makes the calls that the authors' programs make on the global one; `draw` as in
`fsbench.protocols.draws`. An image of these data sets is a view: a photo with one class, or the box of one object in
it, so that a photo may stand in several views.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import ClassVar, Literal

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import PairList, SegmentationIndex
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import EpisodeTask
from fsbench.protocols.base import Provider
from fsbench.protocols.composed import Composed
from fsbench.protocols.conditions import ListsAndDraw
from fsbench.protocols.draws import draw
from fsbench.protocols.geometry import QuerySize
from fsbench.protocols.pools import Pool, TooFewImages
from fsbench.protocols.support_draws import official_supports

PATIENCE = 1000
"""Draws in vain after which it is looked up whether a class can supply its supports at all."""


@dataclass(frozen=True)
class EpisodeRun:
    """The test of one fold and number of shots.

    Attributes:
        class_ids: numbers of the classes in the order of the data set's files; they depend on the fold and, in some
            data sets, on the shots.
        length: number of episodes, where the data set has its own.
        episodes: all of them, one after the other from one stream, without end.
        sha256: checksum of the annotation files that episodes and label maps follow from.
        origin: origin of these files, as of a list (see `PairList`).
    """

    class_ids: list[int]
    length: int | None
    episodes: Iterator[Episode]
    sha256: str
    origin: str


class OwnEpisodes(Provider):
    """The test of a data set that is made for the protocol, and has a rule of its own and no lists."""

    index: SegmentationIndex

    @abstractmethod
    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        """Return the test of `fold` with `shot` supports; DataError where a class cannot supply them."""


class EachPairOnce(Provider):
    """Says that a test of the data set asks for each pair of its list once at most."""


@dataclass(frozen=True)
class InContext(Composed):
    """A test of the words of its file on most data sets; LVIS and object parts have rules of their own.

    No default stands for a word.
    """

    episodes: dict[str, int | Literal["all"]] = field(kw_only=True)
    episode_draw: str | dict[str, str] = field(kw_only=True)
    query_size: QuerySize = field(kw_only=True)

    lists_and_draw: ClassVar[Mapping[str, ListsAndDraw]] = {}  # those of its words, which its own methods keep

    def official_manifest(self, index: SegmentationIndex, task: EpisodeTask) -> Manifest:
        own = OwnEpisodes.find(index)
        if own is not None:
            return self._own_manifest(own, task)
        return super().official_manifest(index, task)

    def support_candidates(
        self, index: SegmentationIndex, task: EpisodeTask, official: Manifest
    ) -> Mapping[int, Sequence[str]]:
        if OwnEpisodes.find(index) is not None:
            return official_supports(official)
        return super().support_candidates(index, task, official)

    @property
    def may_be_shorter(self) -> bool:
        return True

    def test_pool(self, index: SegmentationIndex, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
        pairs, pool, length = super().test_pool(index, task)
        return pairs, pool, len(pairs.pairs) if EachPairOnce.find(index) else length

    def _own_manifest(self, own: OwnEpisodes, task: EpisodeTask) -> Manifest:
        """Draw the episodes of a data set with a rule of its own.

        Raises:
            SettingsError: classes besides those of the fold.
            DataError: a class has too few images.
        """
        index = own.index
        self.check_task(index, task)
        task = replace(task, allow_background_queries=self.may_be_empty(task))
        if task.classes != "novel":
            raise SettingsError(
                f"{index.name} has no {task.classes} classes to validate on; test a method without training"
            )
        run = own.run(task.fold, task.shot, self.test_seed(task) or 0)
        if not run.class_ids:
            raise DataError(
                f"{index.name} fold {task.fold} has no class with more than {task.shot} images; lower SHOT, or use the "
                "complete annotation files"
            )
        official = self.episode_count(index.name, run.length or 0)
        requested = official if task.episodes is None else task.episodes
        number = min(requested, requested if run.length is None else run.length)
        try:
            episodes = tuple(islice(run.episodes, number))
        except TooFewImages as error:
            raise DataError(
                f"{index.name} fold {task.fold}, {index.name_of(error.number)}: {error}; lower SHOT"
            ) from error
        entries = self.header_entries(index, task, run.class_ids) | {
            "episodes": number,
            "requested": requested,
            "official_episodes": official,
            "dropped_classes": [],
            "lists": run.origin,
            "lists_sha256": run.sha256,
            "all_lists_sha256": run.sha256,
        }
        return Manifest(entries, episodes)


def every_tenth(class_ids: Sequence[int], fold: int, folds: int = 10) -> list[int]:
    """Return the classes fold, fold + folds, … of `class_ids`; the last len mod folds belong to no fold (§3.3)."""
    return [class_ids[fold + folds * place] for place in range(len(class_ids) // folds)]


def episodes_of_objects(
    photos_of: Mapping[int, Sequence[str]],
    views_of: Callable[[str, int], Sequence[str]],
    is_empty: Callable[[str], bool],
    *,
    shot: int,
    seed: int = 0,
) -> Iterator[Episode]:
    """Draw the episodes of PACO-Part (§3.5): a class, a photo of it, an object in that; supports, which may repeat.

    An episode with a view without pixels is drawn again as a whole, class included, as INSID3 does; the other programs
    fail there, and draw the same where there is none.

    Args:
        photos_of: class number -> its photos in the order of the annotation file.
        views_of: photo, class number -> the photo's objects that show the class, at least one; asked for drawn photos.
        is_empty: view -> whether its box has no pixels.
        shot: K.
        seed: of the stream.
    """
    rng, numbers = np.random.RandomState(seed), list(photos_of)
    for index in count():
        for _ in range(PATIENCE):
            number = draw(rng, numbers)
            query, *supports = _objects(rng, number, photos_of[number], views_of, shot)
            if not any(map(is_empty, (query, *supports))):
                break
        else:
            raise DataError(f"{PATIENCE} episodes in turn had an object's box without pixels; expected boxes in photos")
        yield Episode(index, query, number, (number,), (tuple(supports),))


def _objects(
    rng: np.random.RandomState,
    number: int,
    photos: Sequence[str],
    views_of: Callable[[str, int], Sequence[str]],
    shot: int,
) -> list[str]:
    """Draw the views of a query and its supports."""
    query = draw(rng, photos)
    views = [draw(rng, views_of(query, number))]
    if not any(photo != query for photo in photos):
        raise TooFewImages(number, 0, 1)
    while len(views) <= shot:
        photo = draw(rng, photos)
        if photo != query:
            views.append(draw(rng, views_of(photo, number)))
    return views


def episodes_of_parts(
    names_of: Mapping[int, Sequence[str]],
    objects_of: Callable[[str, int], Sequence[str | None]],
    *,
    shot: int,
    seed: int = 0,
) -> Iterator[Episode]:
    """Draw the episodes of PASCAL-Part (§3.4): class after class; photos do not repeat within an episode.

    Args:
        names_of: class number (a part of a kind of object) -> photos as listed, maybe several times.
        objects_of: photo, class number -> the photo's objects of that kind: their views, None for those without the
            part.
        shot: K.
        seed: of the stream.
    """
    rng, numbers = np.random.RandomState(seed), list(names_of)
    for index in count():
        number = numbers[index % len(numbers)]
        taken: list[str] = []
        views: list[str] = []
        vain = 0
        while len(views) <= shot:
            name = draw(rng, names_of[number])
            objects = [] if name in taken else objects_of(name, number)
            view = draw(rng, objects) if objects else None
            if view is not None:
                taken.append(name)
                views.append(view)
                continue
            vain += 1
            if vain == PATIENCE:
                usable = sum(any(objects_of(name, number)) for name in set(names_of[number]))
                if usable <= shot:
                    raise TooFewImages(number, usable, shot + 1)
        yield Episode(index, views[0], number, (number,), (tuple(views[1:]),))
