"""Draws from COCO's large objects, as FSSDINO's authors draw (fssdino.md §3 step 5, §4, §5).

Objects below 2048 pixels and crowds do not exist; images of a class stand in CPython's order of sets, and an image
shows the objects of one class alone. The program also has several ways; label maps cannot hold its overlapping classes.
"""

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import ClassVar

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import DIFFERENT_SUPPORTS, OBJECTS_ALONE, OWN_LISTS, ListsAndDraw
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.episode_rules.pools import LEAVE_OUT, TooFewImages
from fsbench.protocols.provider import Provider


@dataclass(frozen=True)
class LargeObjectImages:
    """Images with large objects, from which a fold's episodes are drawn.

    Attributes:
        images_of: {class number: names of its images in drawing order}, classes in the order of the annotation file. A
            name's label map shows the large objects of this class only.
        origin: in words where the images come from.
        sha256: checksum of the annotation file.
    """

    images_of: dict[int, Sequence[str]]
    origin: str
    sha256: str


class LargeObjectTest(Provider):
    """Adapter that gives the protocol fssdino a data set's large objects: label maps and lists of images."""

    data: SegmentationData

    @abstractmethod
    def view(self) -> SegmentationData:
        """Return the data set with label maps that show only large objects."""

    @abstractmethod
    def images(self, fold: int) -> LargeObjectImages:
        """Return the images with large objects of the novel classes of `fold`.

        Raises:
            DataError: the annotation file does not fit the data set.
        """


@dataclass(frozen=True)
class LargeObjectSupports(Draw):
    """Draw in which queries and supports show large objects of a class, and smaller objects do not count."""

    published: ClassVar[Mapping[str, ListsAndDraw]] = {
        "coco": ListsAndDraw(OWN_LISTS.word, OBJECTS_ALONE.word.format(2048), DIFFERENT_SUPPORTS.word)
    }
    description: ClassVar[str] = (
        "one after the other from one stream of Python's generator: a class, then K + 1 of its images in val2014, in "
        "the order of CPython's sets. Objects below 2048 pixels and crowds do not exist"
    )

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of `task` from the images with large objects.

        Raises:
            SettingsError: the data set has no annotated objects.
            DataError: a class has too few images.
        """
        found = _test(data).images(task.fold)
        needed = task.shot + 1
        small = [number for number, names in found.images_of.items() if len(names) < needed]
        class_ids = [number for number in found.images_of if number not in small]
        if not class_ids or (small and not task.drop_small):
            counts = ", ".join(f"{data.name_of(number)} {len(found.images_of[number])}" for number in small)
            raise DataError(
                f"{data.name} fold {task.fold}: too few images with large objects of some classes ({counts}; {needed} "
                f"each are needed); take the complete images and annotations, lower --shot, or {LEAVE_OUT}"
            )
        official = self.episode_count(data.name, 0)
        requested = official if task.episodes is None else task.episodes
        images_of = {number: found.images_of[number] for number in class_ids}
        drawn = fssdino_episodes(images_of, way=task.way, shot=task.shot, seed=self.seed_on(data.name, task) or 0)
        return OfficialEpisodes(
            tuple(islice(drawn, requested)), sorted(class_ids), requested, official, found.origin, found.sha256,
            found.sha256, small,
        )  # fmt: skip

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        """Return {class number: images with large objects of it}, from which further draws take supports."""
        return _test(data).images(task.fold).images_of

    def query_may_support(self, header: Header) -> bool:
        return header.way > 1

    def data(self, data: SegmentationData, fold: int = 0, shot: int = 1) -> SegmentationData:
        return _test(data).view()


def _test(data: SegmentationData) -> LargeObjectTest:
    test = LargeObjectTest.find(data)
    if test is None:
        raise SettingsError(
            f"{data.name} has no test of large objects, which is about COCO's annotated objects; choose "
            "the data set coco, or another protocol"
        )
    return test


def fssdino_episodes(
    images_of: Mapping[int, Sequence[str]], *, way: int, shot: int, seed: int = 0
) -> Iterator[Episode]:
    """Yield the episodes that FSSDINO's program draws from COCO with Python's generator (fssdino.md §5).

    With several ways the query may be among the supports, and an image may support two classes.

    Args:
        images_of: {class number: its images in drawing order}; classes are drawn in this order.
        way, shot: numbers of classes N and supports K.
        seed: the seed of the generator.

    Raises:
        TooFewImages: the program would end there.
    """
    rng, numbers = random.Random(seed), list(images_of)
    needed = shot + 1 if way == 1 else shot
    for episode in count():
        classes = tuple(rng.sample(numbers, way)) if way > 1 else (rng.choice(numbers),)
        query = rng.choice(images_of[classes[0]]) if way > 1 and images_of[classes[0]] else ""
        drawn = []
        for number in classes:
            if len(images_of[number]) < needed:
                raise TooFewImages(number, len(images_of[number]), needed)
            drawn.append(tuple(rng.sample(images_of[number], needed)))
        if way == 1:
            query, drawn = drawn[0][0], [drawn[0][1:]]
        yield Episode(episode, query, classes[0], classes, tuple(drawn))


DRAWS: Mapping[str, type[Draw]] = {"large objects": LargeObjectSupports}
"""Name of a rule in files -> the draw."""
