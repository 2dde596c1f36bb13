"""Draws of a test whose supports are known by a box, as the authors of SAM 3 on a canvas draw (sam3-canvas.md §4, §6).

A class is drawn first, then a query that shows it at any size, then supports with more than 1000 pixels of it. A
support is known by the box of one of its objects.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import ClassVar

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint
from fsbench.data.connected import Box, BoxOf, largest_part_box
from fsbench.data.dataset import DERIVED, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.conditions import BOX_SUPPORTS, DIFFERENT_SUPPORTS, OWN_LISTS, SEEDS, ListsAndDraw
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.draws.further import official_supports
from fsbench.protocols.provider import Provider
from fsbench.protocols.words import Choice, words_by_dataset

SMALLEST_SUPPORT = 1000
"""Pixels of the class (COCO: area of one object) that an image must have more than to be a support."""


@dataclass(frozen=True)
class BoxPools:
    """Names of possible query and support images by class, for tests whose supports are boxes.

    Attributes:
        targets: {class number: images that show the class, in drawing order}.
        supports: {class number: images that show enough pixels of it, in drawing order}.
    """

    targets: Mapping[int, Sequence[str]]
    supports: Mapping[int, Sequence[str]]

    def usable(self, class_ids: Sequence[int], shot: int) -> list[int]:
        """Return those of `class_ids` that have a query and `shot` + 1 supports, ascending."""
        return [
            number
            for number in sorted(class_ids)
            if self.targets.get(number) and len(self.supports.get(number, ())) > shot
        ]


class BoxTest(Provider):
    """Adapter that gives the protocol fss_sam3 a data set's possible queries and supports, and boxes of objects.

    By default, label maps decide which images show a class, and a box surrounds the largest connected part of a mask.
    """

    data: SegmentationData
    draws_objects: ClassVar[bool] = False
    """Whether objects of supports are drawn by a second stream, which goes on from fold to fold."""

    def view(self) -> SegmentationData:
        """Return the data set in the form that this test uses; by default unchanged."""
        return self.data

    @property
    def origin(self) -> str:
        """A sentence part for headers that says where images and boxes come from."""
        return DERIVED

    @property
    def sha256(self) -> str:
        """Hash of everything, besides images and label maps, that decides possible queries, supports and boxes."""
        pools = self.pools()
        return fingerprint([{str(n): list(names) for n, names in of.items()} for of in (pools.targets, pools.supports)])

    def pools(self) -> BoxPools:
        """Return the possible queries and supports of all classes."""
        data = self.data
        names = data.candidates("val")
        data.count_pixels("val", names)
        return pixel_pools({name: data.class_pixels(name)[0] for name in names}, range(1, len(data.class_names) + 1))

    def load(self, episode: Episode, rng: random.Random) -> Episode | None:
        """Return the episode with image names that also identify the drawn objects; None if the episode is unusable.

        By default the episode is returned unchanged.
        """
        return episode

    def box(self, name: str, number: int, mask: np.ndarray) -> Box | None:
        """Return x, y, width and height of a support's box in pixels; None if it has no object.

        Args:
            name: the name of the support image.
            number: the number of the class.
            mask: (H, W), not 0 where the support shows the class.
        """
        return largest_part_box(mask)


@dataclass(frozen=True)
class BoxedSupports(Draw):
    """Draw of the protocol fss_sam3: each support is labelled with one box; the fold's number is added to the seed."""

    seed: int | dict[str, int] | None = 123

    published: ClassVar[Mapping[str, ListsAndDraw]] = {
        name: ListsAndDraw(OWN_LISTS.word, BOX_SUPPORTS.word, DIFFERENT_SUPPORTS.word) for name in ("pascal", "coco")
    }
    description: ClassVar[str] = (
        "one after the other from a stream of each fold: a class, an image that shows it at any size, K different "
        "supports with more than 1000 pixels of it. On COCO an object of each support is drawn from a second stream, "
        "which goes on from fold to fold"
    )

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of `task`; an unusable episode is replaced by the next usable one.

        Raises:
            DataError: a fold has no class with a query and enough supports, or no episode is usable.
        """
        test = BoxTest.of(data)
        pools = test.pools()
        numbers = data.test_classes(task.fold)
        class_ids = _usable(data, pools, task.fold, task.shot)
        official = self.episode_count(data.name, 0)
        requested = official if task.episodes is None else task.episodes
        seed = self.seed_on(data.name, task) or 0
        folds = range(0 if test.draws_objects else task.fold, task.fold + 1)
        drawn = [
            list(
                islice(
                    drawn_episodes(pools, _usable(data, pools, f, task.shot), task.shot, seed + f),
                    max(official, requested),
                )
            )
            for f in folds
        ]
        episodes, replaced = own_fold(test, drawn, requested, seed)
        dropped = [number for number in sorted(numbers) if number not in class_ids]
        return OfficialEpisodes(
            tuple(episodes), sorted(class_ids), requested, official, test.origin, test.sha256, test.sha256, dropped,
            last={"replaced_episodes": replaced},
        )  # fmt: skip

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        """Return {class number: support images of the official episodes}, from which further draws take supports."""
        return official_supports(official)

    def data(self, data: SegmentationData, fold: int = 0, shot: int = 1) -> SegmentationData:
        return BoxTest.of(data).view()

    def box_of(self, data: SegmentationData) -> BoxOf:
        return BoxTest.of(data).box

    def conditions(self, dataset: str) -> dict[str, str]:
        return super().conditions(dataset) | {SEEDS.key: f"{self.official_seed(dataset)} + fold"}

    def notes(self, header: Header) -> list[str]:
        replaced = header.protocol_entries.get("replaced_episodes", 0)
        more = f"{replaced} episodes could not be loaded, and the next ones stand in for them"
        return [*super().notes(header), *([more] if replaced else [])]

    def further_choices(self) -> list[Choice]:
        return [
            Choice("supports tell", "the box of one object for methods that take boxes; masks for others"),
            Choice("a failed episode is", "an empty prediction, which counts; tables name their number"),
        ]

    def seed_words(self) -> str:
        seeds = words_by_dataset(self.seed)
        return f"{seeds}, to which the fold's number is added; --data.test.seed repeats a test with other episodes"


def _usable(data: SegmentationData, pools: BoxPools, fold: int, shot: int) -> list[int]:
    """Return the classes of a fold with a query and K + 1 supports, ascending. Raises DataError where none has them."""
    class_ids = pools.usable(data.test_classes(fold), shot)
    if not class_ids:
        raise DataError(
            f"{data.name} fold {fold} has no class with a query and {shot + 1} images of more than {SMALLEST_SUPPORT} "
            "pixels; lower --shot, or add images"
        )
    return class_ids


def pixel_pools(pixels_of: Mapping[str, Mapping[int, int]], class_ids: Sequence[int]) -> BoxPools:
    """Return the possible queries and supports by class: a support shows more than `SMALLEST_SUPPORT` pixels.

    Args:
        pixels_of: {image name: {class number: its pixels}}, in drawing order.
        class_ids: numbers of the classes.
    """
    targets: dict[int, list[str]] = {number: [] for number in class_ids}
    supports: dict[int, list[str]] = {number: [] for number in class_ids}
    for name, pixels in pixels_of.items():
        for number in class_ids:
            found = pixels.get(number, 0)
            if found:
                targets[number].append(name)
            if found > SMALLEST_SUPPORT:
                supports[number].append(name)
    return BoxPools(targets, supports)


def drawn_episodes(pools: BoxPools, class_ids: Sequence[int], shot: int, seed: int) -> Iterator[Episode]:
    """Yield the 1-way episodes of a fold, drawn at random without end.

    Args:
        pools: possible images, with a query and K + 1 supports of each class.
        class_ids: usable classes, ascending.
        shot: number of supports K.
        seed: the seed of the fold's random generator.
    """
    rng = random.Random(seed)
    for episode in count():
        number = rng.choice(class_ids)
        query = rng.choice(pools.targets[number])
        candidates = [name for name in pools.supports[number] if name != query]
        yield Episode(episode, query, number, (number,), (tuple(rng.sample(candidates, shot)),))


def own_fold(test: BoxTest, drawn: Sequence[Sequence[Episode]], number: int, seed: int) -> tuple[list[Episode], int]:
    """Return the first episodes of the last of `drawn`'s folds, and how many of them replace unusable ones.

    Args:
        test: the test of the data set.
        drawn: the episodes of each fold up to the wanted one; folds draw objects from one random generator in turn.
        number: how many of the last fold's episodes are wanted.
        seed: the seed of the random generator for objects.
    """
    rng = random.Random(seed)
    for of_fold in drawn[:-1]:
        for _ in loaded_episodes(test, of_fold, rng):
            pass
    loaded = list(islice(loaded_episodes(test, drawn[-1], rng), number))
    return [episode for episode, _ in loaded], sum(is_replaced for _, is_replaced in loaded)


def loaded_episodes(test: BoxTest, drawn: Sequence[Episode], rng: random.Random) -> Iterator[tuple[Episode, bool]]:
    """Yield a fold's episodes in order, each with True if it replaces an unusable one (by the next usable).

    Raises:
        DataError: no episode is usable.
    """
    for place in range(len(drawn)):
        for step in range(len(drawn)):
            loaded = test.load(drawn[(place + step) % len(drawn)], rng)
            if loaded is not None:
                yield replace(loaded, number=place), step > 0
                break
        else:
            raise DataError(
                f"{test.data.name}: none of {len(drawn)} episodes can be loaded, as queries have no pixel or supports "
                "no object; use the complete data"
            )


def largest_object_box(labels: np.ndarray, objects: np.ndarray, number: int) -> Box | None:
    """Return x, y, width and height of a class's largest object in PASCAL's object map; None if there is none.

    The largest object has the most pixels in the whole map. Width and height are 1 too small, as in the authors'
    program.

    Args:
        labels: (H, W) class map.
        objects: (H, W) object map: 0 background, 255 void.
        number: the number of the class.
    """
    of_class = labels == number
    found = [int(value) for value in np.unique(objects[of_class]) if value not in (0, 255)]
    if not found:
        return None
    sizes = np.bincount(objects.ravel(), minlength=256)
    largest = max(found, key=lambda value: (sizes[value], -value))
    rows, columns = np.nonzero((objects == largest) & of_class)
    x, y = int(columns.min()), int(rows.min())
    return float(x), float(y), float(columns.max() - x), float(rows.max() - y)


DRAWS: Mapping[str, type[Draw]] = {"boxed supports": BoxedSupports}
"""Name of a rule in files -> the draw."""
