"""Is the class there at all: half of the queries show it, half surely do not.

No published test asks this of in-context segmentation; FS-CS (fscs-protocol) asks it of other episodes. Episode i
follows from (seed, i) alone. Further episodes about base classes give a threshold of presence (`Episode.calibrates`).
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.copies import Likeness, likeness
from fsbench.data.dataset import VOID, PairList, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Header, Manifest
from fsbench.data.episodes.task import Classes, Task
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.draws.further import SupportRedraw
from fsbench.protocols.draws.pair_draw import PairDraw
from fsbench.protocols.episode_rules.pools import LEAVE_OUT, Pool, lower_shots
from fsbench.protocols.provider import Provider
from fsbench.protocols.words import Choice

RIM = 10
"""Pixels from an object up to which void is taken for its border; void farther away is an object without a name."""


class KnownAbsence(Provider):
    """Tells which images surely do not show a class, for tests in which half of the queries lack their class.

    A data set that annotates only one class in each image cannot tell, and has no `KnownAbsence`.
    """

    data: SegmentationData
    words: ClassVar[str]
    """When an image surely lacks a class, for readers; records keep it."""

    @abstractmethod
    def surely_lacks(self, name: str, number: int) -> bool:
        """Return whether image `name` surely shows nothing of class `number`; False if unknown."""

    def is_whole(self, name: str, number: int) -> bool:
        """Return whether image `name`, listed for class `number`, shows the class with all of it annotated."""
        return True

    def own_pairs(self, classes: Classes, fold: int, shot: int) -> PairList | None:
        """Return the data set's own (image, class) list for a test of presence; None for its ordinary lists.

        Args:
            classes: "novel" or "base".
            fold: the fold.
            shot: number of supports.
        """
        return None

    def lacking(self, number: int, images_of: Mapping[int, Sequence[str]]) -> Sequence[Sequence[str]]:
        """Return groups of images that may lack class `number`, one for each other class of the test.

        As queries are drawn from these groups, a query without the class shows another class that the test asks for.
        """
        return [names for other, names in images_of.items() if other != number]


class CompleteLabelMaps(KnownAbsence):
    """Knowledge about absent classes from label maps that show every object; large void areas may hide any class."""

    words = (
        f"the label map has no pixel of the class, and no void more than {RIM} pixels from an object, which may be "
        "anything"
    )

    def surely_lacks(self, name: str, number: int) -> bool:
        pixels = self.data.class_pixels(name)[0]
        return not pixels.get(number) and not (pixels.get(VOID) and has_unnamed(self.data.label_map(name)))


def has_unnamed(labels: np.ndarray) -> bool:
    """Return whether a label map (H, W) uint8 has void pixels more than `RIM` pixels from every object."""
    height, width = labels.shape
    objects = np.pad((labels != 0) & (labels != VOID), RIM)
    near = np.zeros((height, width), dtype=bool)  # pixels in a disc around one of an object
    for down in range(-RIM, RIM + 1):
        reach = isqrt(RIM**2 - down**2)
        sums = np.pad(objects[RIM + down : RIM + down + height].cumsum(1, dtype=np.int32), ((0, 0), (1, 0)))
        near |= sums[:, RIM + reach + 1 :][:, :width] > sums[:, RIM - reach :][:, :width]
    return bool((~near[labels == VOID]).any())


@dataclass(frozen=True)
class PresencePool:
    """Images that show each class, and images without it, from which episodes are drawn.

    Attributes:
        data: the data set.
        known: tells which images surely lack a class.
        images_of: {class number: images that are listed for it}.
        class_ids: numbers of the classes, about which episodes are in turn.
        alike: tells which images show the same.
        excluded: files of images that must not be drawn.
    """

    data: SegmentationData
    known: KnownAbsence
    images_of: Mapping[int, Sequence[str]]
    class_ids: Sequence[int]
    alike: Likeness
    excluded: frozenset[Path] = frozenset()

    def unusable(self, shot: int) -> dict[int, str]:
        """Return {class number: reason in words} for classes of which no episodes with `shot` supports can be drawn."""
        reasons = {}
        for number in self.class_ids:
            photos: set[str] = set()
            for name in filter(self._shows(number), self.images_of.get(number, ())):
                photos.add(self.alike.photo_of(name))
                if len(photos) > shot:
                    break
            if len(photos) <= shot:
                reasons[number] = f"{len(photos)} of {shot + 1} images that show it"
            elif not any(map(self._lacks(number), chain.from_iterable(self._groups(number)))):
                reasons[number] = "no image that surely lacks it"
        return reasons

    def without(self, numbers: Sequence[int] | Mapping[int, str]) -> "PresencePool":
        """Return the pool without episodes about these classes; their images may still be queries that lack others."""
        return replace(self, class_ids=[number for number in self.class_ids if number not in numbers])

    def episode(self, place: int, rng: np.random.RandomState, shot: int) -> Episode:
        """Draw the episode with number `place`: each class in turn with a query that shows it, then one that lacks it.

        Raises:
            DataError: the class has too few images of other photos than the query's.
        """
        number = self.class_ids[place // 2 % len(self.class_ids)]
        if place % 2 == 0:
            query = next(filter(self._shows(number), _shuffled(rng, self.images_of[number])))
        else:
            query = self._draw_lacking(rng, number)
        supports = self.supports(number, query, rng, shot)
        seen = number if place % 2 == 0 else self._shown_class(query)
        return Episode(place, query, seen, (number,), (supports,))

    def supports(
        self, number: int, query: str, rng: np.random.RandomState | np.random.Generator, shot: int
    ) -> tuple[str, ...]:
        """Draw `shot` images of different photos that show class `number`, if possible none of the query's subject.

        Raises:
            DataError: there are fewer than `shot` such images.
        """
        images = self.images_of[number]
        order, supports = rng.permutation(len(images)), list[str]()
        for same in (self.alike.subject_of, self.alike.photo_of):
            taken, supports = {self.alike.photo_of(query)}, []
            for name in filter(self._shows(number), (images[place] for place in order)):
                photo = self.alike.photo_of(name)
                if photo not in taken and same(name) != same(query):
                    taken.add(photo)
                    supports.append(name)
                if len(supports) == shot:
                    return tuple(supports)
        raise DataError(
            f"{self.data.name}: {self.data.name_of(number)} has {len(supports)} supports for the query {query}, "
            f"expected {shot} of other images; {lower_shots(shot)}or add images"
        )

    def _shown_class(self, name: str) -> int:
        """Return a class that image `name` shows, one of those that are listed where it shows such."""
        shown = sorted(set(self.data.class_pixels(name)[0]) - {0, VOID})
        return next((number for number in shown if number in self.images_of), shown[0])

    def _draw_lacking(self, rng: np.random.RandomState, number: int) -> str:
        """Draw a group, and an image of it that surely lacks the class; another group where none does."""
        for names in _shuffled(rng, self._groups(number)):
            for name in filter(self._lacks(number), _shuffled(rng, names)):
                return str(name)
        raise DataError(f"{self.data.name}: no image surely lacks {self.data.name_of(number)}")

    def _shows(self, number: int) -> Callable[[str], bool]:
        return lambda name: self._may_be_drawn(name) and self.known.is_whole(name, number)

    def _lacks(self, number: int) -> Callable[[str], bool]:
        return lambda name: self._may_be_drawn(name) and self.known.surely_lacks(name, number)

    def _may_be_drawn(self, name: str) -> bool:
        return not self.excluded or self.data.image_path(name) not in self.excluded

    def _groups(self, number: int) -> Sequence[Sequence[str]]:
        return self.known.lacking(number, self.images_of)


def _shuffled(rng: np.random.RandomState | np.random.Generator, items: Sequence[Any]) -> Iterator[Any]:
    return (items[place] for place in rng.permutation(len(items)))


@dataclass(frozen=True)
class Presence(PairDraw):
    """Draw in which every second query shows the class of its episode, and every other query surely does not.

    Attributes:
        calibration: number of further episodes about base classes, on which a threshold for "the query shows the class"
            is chosen; at most as many as the test has; 0 for no threshold.
    """

    empty_queries: bool = True
    calibration: int = 400

    calibrates: ClassVar[bool] = True

    description: ClassVar[str] = (
        "each by itself from (seed, its index): the classes take turns, for each a query that shows it and one that "
        "surely does not, which shows another class of the test where the data set has several; K different supports, "
        "never of the query's image. No published test draws so: no published figure is comparable"
    )

    # Which episodes are there?

    def with_calibration(self, data: SegmentationData, task: Task, test: Manifest) -> Manifest:
        """Return the manifest with further episodes about base classes, on which a threshold of presence is chosen."""
        if task.classes != "novel" or not self.calibration:
            return test
        drawn = self._calibration_episodes(data, task, test)
        if drawn is None:
            return test
        episodes, images = drawn
        entries = test.entries | {
            "calibration_ids": sorted({number for episode in episodes for number in episode.classes}),
            "calibration_images": images,
        }
        return Manifest(entries, (*test.episodes, *episodes))

    def calibration_count(self, episodes: int) -> int:
        return min(self.calibration, episodes)

    def first_entries(self, data: SegmentationData) -> Mapping[str, Any]:
        return {"absence": _known(data).words}

    def stream(self, data: SegmentationData, pool: Pool, task: Task) -> Iterator[Episode]:
        return self._stream(_presence_pool(data, pool.images_of, pool.class_ids), task, 0)

    def test_pool(self, data: SegmentationData, task: Task) -> tuple[PairList, Pool, int | None]:
        """Return the test's (image, class) list and its pool of queries and supports; the third value is None.

        Raises:
            DataError: a class has too few images, or no image surely lacks it, and the task does not allow dropping
                classes.
        """
        pairs, pool = self._listed(data, task)
        unusable = _presence_pool(data, pool.images_of, pool.class_ids).unusable(task.shot)
        if unusable and not task.drop_small:
            reasons = "; ".join(f"{data.name_of(number)}: {reason}" for number, reason in unusable.items())
            raise DataError(
                f"{data.name} fold {task.fold}: no episodes about some classes ({reasons}); use the complete images, "
                f"{lower_shots(task.shot)}or {LEAVE_OUT}"
            )
        kept = PairList(tuple(pair for pair in pairs.pairs if pair[1] not in unusable), pairs.origin)
        return kept, pool, None

    def support_redraw(self, data: SegmentationData, task: Task, official: Manifest) -> SupportRedraw:
        listed = self._listed(data, task)[1]
        pool = _presence_pool(data, listed.images_of, listed.class_ids)

        def redraw(episode: Episode, rng: np.random.Generator) -> Episode:
            (number,) = episode.classes
            return replace(episode, supports=(pool.supports(number, episode.query, rng, len(episode.supports[0])),))

        return redraw

    def without_copies(self, data: SegmentationData, task: Task, official: Manifest) -> Manifest:
        """Return the official episodes unchanged: their supports never come from the query's photo."""
        return official

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        yield from super().tested_images(data, setting)
        if self.calibration:
            for images_of, _ in filter(None, (self._base_images(data, Task(f)) for f in range(data.folds))):
                yield from chain.from_iterable(images_of.values())

    def setting_pairs(self, data: SegmentationData, setting: str, fold: int) -> PairList:
        own = _known(data).own_pairs("novel", fold, 1)
        return super().setting_pairs(data, setting, fold) if own is None else own

    @property
    def in_validation(self) -> Draw:
        """The same draw without the episodes on which a threshold of presence is calibrated."""
        return replace(self, calibration=0)

    def may_be_empty(self, task: Task) -> bool:
        """Return True: half of the queries do not show the class."""
        return True

    def least_classes(self, task: Task) -> int:
        """Return 1: the data set decides where queries without the class come from."""
        return 1

    def _listed(self, data: SegmentationData, task: Task) -> tuple[PairList, Pool]:
        """Return the images of the classes of `task` as they are listed, and the pool with all of them."""
        own = _known(data).own_pairs(task.classes, task.fold, task.shot)
        if own is None:
            pairs, pool, _ = super().test_pool(data, task)
            return pairs, pool
        return own, self.pool(data, own, list(own.images_of))

    def _stream(self, pool: PresencePool, task: Task, stream: int) -> Iterator[Episode]:
        seed, place = self.seed_on(pool.data.name, task) or 0, 0
        while True:
            yield pool.episode(place, np.random.RandomState([seed, place, stream]), task.shot)
            place += 1

    def _calibration_episodes(
        self, data: SegmentationData, task: Task, test: Manifest
    ) -> tuple[list[Episode], str] | None:
        """Draw the episodes about base classes, with the images that they are drawn from in words.

        They are of training images where the data set has them, else of test images that no episode of the test shows;
        None if there are no base classes.
        """
        found = self._base_images(data, task)
        if found is None:
            return None
        images_of, images = found
        names = test.image_names if images == "test images" else ()
        shown = frozenset(data.image_path(name) for name in names)
        pool = replace(_presence_pool(data, images_of, sorted(images_of)), excluded=shown)
        pool = pool.without(pool.unusable(task.shot))
        if not pool.class_ids:
            return None
        drawn = islice(self._stream(pool, task, 1), self.calibration_count(len(test.official_episodes)))
        first = len(test.episodes)
        return [replace(one, number=first + one.number, calibrates=True) for one in drawn], images

    def _base_images(self, data: SegmentationData, task: Task) -> tuple[Mapping[int, Sequence[str]], str] | None:
        """Return the images of each base class, and which they are; None if the data set has no base classes."""
        shot = task.nested_in or task.shot  # that the classes of the test were chosen for
        base = replace(task.about("base"), shot=shot)
        own = _known(data).own_pairs("base", task.fold, shot)
        if own is not None:
            return (own.images_of, "test images") if own.pairs else None
        try:
            pairs = self.pairs(data, "trn", task.fold)
            own_classes = set(data.train_classes(task.fold)).difference(data.test_classes(task.fold))
            return self._only(pairs, own_classes), "training images"
        except (DataError, SettingsError):
            pass  # the training part is large, and methods that are not trained do without; the header says which
        try:
            pairs, pool = self._listed(data, base)
        except SettingsError:
            return None
        return self._only(pairs, pool.class_ids), "test images"

    @staticmethod
    def _only(pairs: PairList, class_ids: Collection[int]) -> Mapping[int, Sequence[str]]:
        return {number: pairs.images_of[number] for number in sorted(class_ids) if number in pairs.images_of}

    # In which words?

    def notes(self, header: Header) -> list[str]:
        notes = super().notes(header)
        absence = header.protocol_entries.get("absence")
        known = f": {absence}" if isinstance(absence, str) else ""
        notes.append(f"half of the queries show the class, half surely lack it{known}; no published test does this")
        if not header.calibration_ids and self.calibration:
            chosen = "these episodes were chosen from those of a test"
            reason = chosen if header.selection is not None else "the data set has no base classes with enough images"
            notes.append(f"no threshold is calibrated: {reason}")
        return notes

    def title(self, header: Header) -> str:
        return super().title(header).replace("queries may be empty", "half of the queries lack the class")

    def choices(self) -> list[Choice]:
        empty = Choice(
            "empty queries",
            "every second query surely lacks the class: of label maps, no pixel of the class and no void far from "
            "objects; of COCO, no object or crowd of it; of LVIS, the class is among the image's negative "
            "categories. Images of which it is not known are no queries, nor those with the class that are not "
            "annotated exhaustively",
        )
        return [empty if choice.label == empty.label else choice for choice in super().choices()]

    def further_choices(self) -> list[Choice]:
        calibrated = Choice(
            "a second threshold",
            f"{self.calibration} episodes about base classes, of training images where they are there, else of other "
            "test images, give the threshold of presence score of the row “calibrated”"
            if self.calibration
            else "none",
        )
        return [calibrated]

    def check(self) -> None:
        super().check()
        if self.calibration < 0:
            raise SettingsError(f"calibration is {self.calibration}, expected 0 or more")


def _presence_pool(
    data: SegmentationData, images_of: Mapping[int, Sequence[str]], class_ids: Sequence[int]
) -> PresencePool:
    alike = likeness(data, chain.from_iterable(images_of.values()))
    return PresencePool(data, _known(data), images_of, class_ids, alike)


def _known(data: SegmentationData) -> KnownAbsence:
    known = KnownAbsence.find(data)
    if known is None:
        raise SettingsError(
            f"{data.name} does not tell which images lack a class, as a label map shows one class alone; expected "
            "this protocol with the data set coco, pascal, isaid, lvis, pascal_part, demo or a folder of your own"
        )
    return known


DRAWS: Mapping[str, type[Draw]] = {"presence": Presence}
"""Name of a rule in files -> the draw."""
