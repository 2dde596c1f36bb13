"""Draws of episodes from lists of images and classes: everything that the tests with such lists share."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import PairList, Part, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.task import Task
from fsbench.protocols.draws.draw import Draw, OfficialEpisodes
from fsbench.protocols.episode_rules.pair_lists import base_validation_pairs, filtered_list, pair_list
from fsbench.protocols.episode_rules.pools import Pool, TooFewImages, ordinary_pool, too_few_images


@dataclass(frozen=True)
class PairDraw(Draw):
    """Base class of draws from lists of (image, class) pairs; a subclass yields the episodes in `stream`."""

    trains: ClassVar[bool] = True

    # Which episodes are there?

    @abstractmethod
    def stream(self, data: SegmentationData, pool: Pool, task: Task) -> Iterator[Episode]:
        """Yield the episodes of `task` without end; the test takes the first ones.

        Args:
            data: the data set.
            pool: possible queries and supports.
            task: the settings of the test.

        Raises:
            TooFewImages: a class has too few images for its supports.
        """

    def first_entries(self, data: SegmentationData) -> Mapping[str, Any]:
        """Return further entries {name: value} of the manifest's header; by default {}."""
        return {}

    def official_episodes(self, data: SegmentationData, task: Task) -> OfficialEpisodes:
        """Draw the episodes of `task`; reads label maps if the rule needs pixels.

        Raises:
            SettingsError: there are more ways than classes, or queries without their class need a second class.
            DataError: a class has too few images, or there is no query.
        """
        task = replace(task, empty=self.may_be_empty(task))
        pairs, pool, length = self.test_pool(data, task)
        needed = 2 if self.supports_repeat else task.shot + 1
        option = "--shot" if task.nested_in is None else "--data.test.nested_in"  # that `shot` is of
        skipped: list[int] = []
        if task.drop_small:
            skipped = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) < needed]
            if skipped and len(pool.class_ids) - len(skipped) < task.way:
                raise DataError(too_few_images(data, pairs, pool, task.fold, needed, option, dropped=True))
            pool = pool.without(skipped)
        _check_pool(data, pool, task, self.least_classes(task))
        official = self.episode_count(data.name, len(pairs.pairs))
        requested = official if task.episodes is None else task.episodes
        number = min(requested, length) if length else requested
        try:
            episodes = tuple(islice(self.stream(data, pool, task), number))
        except TooFewImages as error:
            raise DataError(too_few_images(data, pairs, pool, task.fold, needed, option)) from error
        return OfficialEpisodes(
            episodes, sorted(pool.class_ids), requested, official, pairs.origin, pairs.sha256,
            self._all_lists_sha256(data, task), skipped, self.first_entries(data),
        )  # fmt: skip

    def least_classes(self, task: Task) -> int:
        """Return how many classes a test needs: 2 if queries may show none of their episode's classes, else 1."""
        return 2 if task.empty else 1

    def support_candidates(self, data: SegmentationData, task: Task, official: Manifest) -> Mapping[int, Sequence[str]]:
        """Return {class number: its images in the test's list}, from which further draws take supports."""
        return self.test_pool(data, task)[1].images_of

    # From which lists?

    def test_pool(self, data: SegmentationData, task: Task) -> tuple[PairList, Pool, int | None]:
        """Return the test's (image, class) list, its pool of queries and supports, and its most episodes (or None)."""
        if task.classes == "base":
            pairs, class_ids = base_validation_pairs(data, task.fold, self.pairs), data.train_classes(task.fold)
        elif task.classes == "held_out":
            class_ids = data.val_classes(task.fold)
            if not class_ids:
                raise SettingsError(f"{data.name} keeps no classes for validation; choose novel or base ones")
            pairs = pair_list(data, "held_out", task.fold)
        else:
            pairs, class_ids = self.pairs(data, "val", task.fold), data.test_classes(task.fold)
        return pairs, self.pool(data, pairs, class_ids), None

    def pairs(self, data: SegmentationData, part: Part, fold: int) -> PairList:
        """Return the (image, class) list of base classes in "trn" images, or novel ones in "val" (test) images."""
        return pair_list(data, part, fold)

    def setting_pairs(self, data: SegmentationData, setting: str, fold: int) -> PairList:
        """Return the (image, class) list of the novel classes in test images for an evaluation setting."""
        return self.pairs(data, "val", fold)

    def pool(self, data: SegmentationData, pairs: PairList, class_ids: Sequence[int]) -> Pool:
        """Return the pool of an (image, class) list: queries in list order, supports by class."""
        return ordinary_pool(data, pairs, class_ids)

    def _all_lists_sha256(self, data: SegmentationData, task: Task) -> str:
        """Return the hash of the lists of every fold: it tells whether records of several folds share their data."""
        lists = [pairs.sha256 for pairs in self._all_lists(data, task.setting)]
        return hashlib.sha256("".join(lists).encode()).hexdigest()

    def tested_images(self, data: SegmentationData, setting: str) -> Iterable[str]:
        return (name for pairs in self._all_lists(data, setting) for name, _ in pairs.pairs)

    def _all_lists(self, data: SegmentationData, setting: str) -> Iterator[PairList]:
        """Yield the list of every fold."""
        return (self.setting_pairs(data, setting, fold) for fold in range(data.folds))

    # What is learnt from?

    def training_pairs(self, data: SegmentationData, fold: int, filter_novel: bool | None = None) -> PairList:
        """Return the (image, class) list of the base classes in training images.

        Args:
            data: the data set.
            fold: fold whose classes are novel.
            filter_novel: leave out images that show a pixel of any class besides the base ones, as BAM does (bam.md
                §8); None does what the protocol's own training list does.
        """
        if filter_novel is None or filter_novel == self.filter_novel:
            return self.pairs(data, "trn", fold)
        if not filter_novel:
            return self.unfiltered_pairs(data, fold)
        name = f"trn of {type(self).__name__} {self.lists_word(data)}"
        return filtered_list(data, fold, name, lambda: self.pairs(data, "trn", fold))

    def lists_word(self, data: SegmentationData) -> str:
        """Return a word that distinguishes this draw's lists of a data set from other draws' lists."""
        return "hsnet"

    def unfiltered_pairs(self, data: SegmentationData, fold: int) -> PairList:
        """Return the (image, class) training list including images that also show novel classes."""
        raise SettingsError("the test has no training list with images of novel classes; leave FILTER_NOVEL out")

    def training_pool(self, data: SegmentationData, task: Task, filter_novel: bool | None = None) -> Pool:
        """Return the pool of queries and supports for 1-way training episodes: base classes in training images.

        Args:
            data: the data set.
            task: settings of the training episodes; if queries may lack their class, at least two base classes are
                needed.
            filter_novel: leave out images that show any class besides the base ones; None does what the protocol's own
                training list does.

        Raises:
            SettingsError: the lists have no training part.
            DataError: a base class has too few images for a query and its supports, or there are too few base classes.
        """
        pairs = self.training_pairs(data, task.fold, filter_novel)
        pool = self.pool(data, pairs, data.train_classes(task.fold))
        small = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) <= task.shot]
        needed = 2 if task.empty else 1
        if small and (not task.drop_small or len(pool.class_ids) - len(small) < needed):
            option = "--shot" if task.shot == 1 else "--data.training.training_shot"
            raise DataError(too_few_images(data, pairs, pool, task.fold, task.shot + 1, option, task.drop_small))
        pool = pool.without(small)
        if len(pool.class_ids) < needed:
            raise DataError(
                f"{data.name} fold {task.fold} has {len(pool.class_ids)} base classes to train on, expected {needed} "
                "or more; use another fold or other folds"
            )
        return pool


def _check_pool(data: SegmentationData, pool: Pool, task: Task, least: int) -> None:
    """Raise an error unless `pool` has enough classes, which are `least`, and a query."""
    if task.way > len(pool.class_ids):
        raise SettingsError(f"way {task.way} is more than the {len(pool.class_ids)} classes of fold {task.fold}")
    if len(pool.class_ids) < least:
        raise SettingsError(
            f"fold {task.fold} has one class; queries without any support class need a second one; use another "
            "fold, or exclude them with --data.test.empty false"
        )
    if not pool.pairs:
        raise DataError(f"{data.name} fold {task.fold} has no usable query for the setting {task.setting}")
