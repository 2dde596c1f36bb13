"""In-context segmentation on data sets that were made for it, as Matcher, GF-SAM and INSID3 draw (incontext-protocol).

Rules are pure functions of annotations and a private `numpy.random.RandomState`, which makes the calls that the
authors' programs make on the global one (§3.3-3.5). An image of these data sets is a view: a photo with one class, or
the box of one object in it, so that a photo may stand in several views.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.draw import OfficialEpisodes
from fsbench.protocols.episode_rules.hsnet import draw
from fsbench.protocols.episode_rules.pools import TooFewImages, lower_shots
from fsbench.protocols.provider import Provider

PATIENCE = 1000
"""Draws in vain after which it is looked up whether a class can supply its supports at all."""


@dataclass(frozen=True)
class EpisodeRun:
    """The episodes of one fold and number of shots, drawn by a data set's own rule.

    Attributes:
        class_ids: numbers of the classes in the order of the data set's files; they depend on the fold and, in some
            data sets, on the shots.
        length: number of episodes of the test if the data set fixes it, else None.
        episodes: iterator over all episodes, drawn from one random generator, without end.
        sha256: checksum of the annotation files that episodes and label maps follow from.
        origin: where the annotation files come from, in a word such as "official" or "derived".
    """

    class_ids: list[int]
    length: int | None
    episodes: Iterator[Episode]
    sha256: str
    origin: str


class OwnEpisodes(Provider):
    """Adapter for a data set whose episodes in the protocol incontext follow a rule of their own, not image lists."""

    data: SegmentationData

    @abstractmethod
    def run(self, fold: int, shot: int, seed: int) -> EpisodeRun:
        """Return the episodes of a test of this data set, drawn by its own rule.

        Args:
            fold: the fold.
            shot: number of supports.
            seed: seed of the random generator.

        Raises:
            DataError: a class has too few images.
        """


class EachPairOnce(Provider):
    """Marks a data set whose tests use each (image, class) pair of the list at most once."""


def own_episodes(
    own: OwnEpisodes, run: EpisodeRun, task: Task, official: int, first_entries: Mapping[str, Any]
) -> OfficialEpisodes:
    """Draw a test's episodes by a data set's own rule, and return them with entries for the manifest's header.

    Args:
        own: the data set's rule.
        run: the episodes that the data set's rule draws for the task's fold and shots.
        task: the settings of the test.
        official: number of episodes that the protocol has.
        first_entries: further entries {name: JSON value} of the header.

    Raises:
        SettingsError: the task is about other classes than the fold's novel ones.
        DataError: a class has too few images.
    """
    data = own.data
    if task.classes != "novel":
        raise SettingsError(f"{data.name} has no {task.classes} classes to validate on; test a method without training")
    if not run.class_ids:
        raise DataError(
            f"{data.name} fold {task.fold} has no class with more than {task.shot} images; "
            f"{lower_shots(task.shot)}or use the complete annotation files"
        )
    requested = official if task.episodes is None else task.episodes
    number = min(requested, requested if run.length is None else run.length)
    try:
        episodes = tuple(islice(run.episodes, number))
    except TooFewImages as error:
        place = f"{data.name} fold {task.fold}, {data.name_of(error.number)}"
        raise DataError(f"{place}: {error}; {lower_shots(task.shot)}or add images") from error
    return OfficialEpisodes(
        episodes, sorted(run.class_ids), requested, official, run.origin, run.sha256, run.sha256, first=first_entries
    )


def every_tenth(class_ids: Sequence[int], fold: int, folds: int = 10) -> list[int]:
    """Return the classes at positions fold, fold + folds, … of `class_ids`; the last len mod folds are in no fold."""
    return [class_ids[fold + folds * place] for place in range(len(class_ids) // folds)]


def episodes_of_objects(
    photos_of: Mapping[int, Sequence[str]],
    views_of: Callable[[str, int], Sequence[str]],
    is_empty: Callable[[str], bool],
    *,
    shot: int,
    seed: int = 0,
) -> Iterator[Episode]:
    """Yield PACO-Part's episodes: a class, a photo and an object in it are drawn, then supports, which may repeat.

    An episode in which a drawn object's box has no pixels is drawn again as a whole, class included, as INSID3 does;
    other programs stop with an error there.

    Args:
        photos_of: {class number: its photos in the order of the annotation file}.
        views_of: function (photo, class number) -> names of the photo's objects that show the class.
        is_empty: function from an object's name to whether its box has no pixels.
        shot: number of supports K.
        seed: the seed of the random generator.
    """
    rng, numbers = np.random.RandomState(seed), list(photos_of)
    for episode in count():
        for _ in range(PATIENCE):
            number = draw(rng, numbers)
            query, *supports = _objects(rng, number, photos_of[number], views_of, shot)
            if not any(map(is_empty, (query, *supports))):
                break
        else:
            raise DataError(f"{PATIENCE} episodes in turn had an object's box without pixels; expected boxes in photos")
        yield Episode(episode, query, number, (number,), (tuple(supports),))


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
    """Yield PASCAL-Part's episodes, classes in turn; no photo is twice in an episode.

    Args:
        names_of: {class number (a part of a kind of object): photos as listed, maybe several times}.
        objects_of: function (photo, class number) -> names of the photo's objects of that kind, with None for an object
            that does not show the part.
        shot: number of supports K.
        seed: the seed of the random generator.
    """
    rng, numbers = np.random.RandomState(seed), list(names_of)
    for episode in count():
        number = numbers[episode % len(numbers)]
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
        yield Episode(episode, views[0], number, (number,), (tuple(views[1:]),))
