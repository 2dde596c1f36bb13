"""A manifest: the frozen list of episodes that an evaluation runs, with the hash that names it.

Text, one JSON object a line: first what was asked for, then the episodes in order. The hash is the sha256 of the file.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fsbench.annotations import SIZE_BINS, AnnotationIndex, PairList
from fsbench.errors import DataError, RecordError, SettingsError
from fsbench.files import write_text
from fsbench.protocol import Protocol
from fsbench.samplers import Episode, Pool, TooFewImages, augment, draw_episode, ordinary_pool, size_pool

SETTINGS = ("original", "partially_augmented", "fully_augmented", *SIZE_BINS)
"""Evaluation settings of the FS-CS protocol; the last ones are its size-restricted splits."""


@dataclass(frozen=True)
class Task:
    """What a manifest is drawn for.

    `classes` says which classes the episodes are about: "novel" those of the fold (the test), "base" the other ones, in
    validation images. `empty` allows queries without any support class. `drop_small` leaves out classes that have too
    few images instead of stopping.
    """

    fold: int
    way: int = 1
    shot: int = 1
    setting: str = "original"
    empty: bool = True
    classes: Literal["novel", "base"] = "novel"
    episodes: int | None = None
    drop_small: bool = False


@dataclass(frozen=True)
class Manifest:
    """Episodes and what they were drawn for; `header` holds plain JSON values."""

    header: dict[str, Any]
    episodes: tuple[Episode, ...]

    @cached_property
    def text(self) -> str:
        rows = [self.header, *(asdict(episode) for episode in self.episodes)]
        return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def class_ids(self) -> list[int]:
        """Classes that the mIoU averages over, whether or not an episode shows them."""
        return list(self.header["class_ids"])

    def write(self, path: Path) -> None:
        write_text(path, self.text)


def read_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """The manifest of a file; raises RecordError when it is damaged or is not the one of `sha256`."""
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        episodes = tuple(
            Episode(**row | {"classes": tuple(row["classes"]), "supports": tuple(map(tuple, row["supports"]))})
            for row in rows[1:]
        )
        manifest = Manifest(rows[0], episodes)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise RecordError(f"{path} is no manifest ({error}); expected JSON lines written by fsbench") from error
    if sha256 is not None and manifest.sha256 != sha256:
        raise RecordError(f"{path} has sha256 {manifest.sha256}, expected {sha256}; it was changed since")
    return manifest


def build_manifest(index: AnnotationIndex, protocol: Protocol, task: Task) -> Manifest:
    """Draw the episodes of `task`; opens masks only for the augmented and size-restricted settings.

    Raises SettingsError for an unknown fold, way, shot or setting, DataError for classes without enough images.
    """
    _check(index, task)
    pairs, pool, length = _pool(index, task)
    dropped: list[int] = []
    if task.drop_small:
        dropped = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) <= task.shot]
        pool = _without(pool, dropped)
    if task.way > len(pool.class_ids):
        raise SettingsError(f"way {task.way} is more than the {len(pool.class_ids)} classes of fold {task.fold}")
    if task.empty and task.setting not in SIZE_BINS and len(pool.class_ids) < 2:
        raise SettingsError(
            f"fold {task.fold} has one class; queries without any support class need a second one; use another "
            "fold, or exclude them with --data.empty_masks false"
        )
    if not pool.pairs:
        raise DataError(f"{index.name} fold {task.fold} has no usable query for the setting {task.setting}")
    count = min(task.episodes or protocol.episodes, length or protocol.episodes)
    size_restricted = task.setting in SIZE_BINS
    try:
        episodes = tuple(_episode(i, index, pool, task, empty=task.empty and not size_restricted) for i in range(count))
    except TooFewImages as error:
        raise DataError(_too_few(index, pairs, pool, task)) from error
    header = {
        "protocol": protocol.name,
        "version": protocol.version,
        "dataset": index.name,
        **asdict(task),
        "empty": task.empty and not size_restricted,
        "episodes": count,
        "class_ids": sorted(pool.class_ids),
        "class_names": {str(number): index.class_names[number - 1] for number in sorted(pool.class_ids)},
        "folds": index.folds,
        "requested": task.episodes or protocol.episodes,
        "dropped_classes": dropped,
        "lists": pairs.origin,
        "lists_sha256": pairs.sha256,
        "all_lists_sha256": _all_lists_sha256(index, task),
    }
    return Manifest(header, episodes)


def _all_lists_sha256(index: AnnotationIndex, task: Task) -> str:
    """Of the lists of every fold: tells whether records of several folds are about the same data."""
    split = task.setting if task.setting in SIZE_BINS else "val"
    lists = [index.pair_list(split, fold).sha256 for fold in range(index.folds)]
    return hashlib.sha256("".join(lists).encode()).hexdigest()


def _episode(i: int, index: AnnotationIndex, pool: Pool, task: Task, empty: bool) -> Episode:
    rng = np.random.RandomState(i)  # the official seed of item i
    episode = draw_episode(i, rng, pool, way=task.way, shot=task.shot, empty=empty)
    if task.setting in ("partially_augmented", "fully_augmented"):
        targets = pool.class_ids if task.setting == "fully_augmented" else None
        episode = augment(episode, rng, targets, index.class_pixels, index.augment_threshold)
    return episode


def _pool(index: AnnotationIndex, task: Task) -> tuple[PairList, Pool, int | None]:
    """Pair list, pool, and the number of items where the setting has its own."""
    if task.setting in SIZE_BINS:
        lists = [index.pair_list(task.setting, fold) for fold in range(index.folds)]
        pools = [size_pool(pairs, index.query_rule, way=task.way, shot=task.shot) for pairs in lists]
        return lists[task.fold], pools[task.fold], max(len(pool.pairs) for pool in pools)
    if task.classes == "base":
        pairs, class_ids = base_validation_pairs(index, task.fold), index.train_classes(task.fold)
    else:
        pairs, class_ids = index.pair_list("val", task.fold), index.test_classes(task.fold)
    return pairs, ordinary_pool(index, pairs, class_ids), None


def base_validation_pairs(index: AnnotationIndex, fold: int) -> PairList:
    """Base classes of `fold` in validation images: the val lists of the other folds, a pair of each in turn, so that
    the first episodes are about all of them."""
    lists = [index.pair_list("val", other) for other in range(index.folds) if other != fold]
    if not lists:
        raise SettingsError(f"{index.name} has one fold, so there are no base classes to validate on")
    origins = dict.fromkeys(pairs.origin for pairs in lists)
    turns = zip_longest(*(pairs.pairs for pairs in lists))
    return PairList(tuple(pair for turn in turns for pair in turn if pair is not None), ", ".join(origins))


def training_pool(index: AnnotationIndex, fold: int, drop_small: bool, empty: bool = True) -> Pool:
    """Pool of 1-way 1-shot training episodes: base classes in training images.

    Raises DataError when a base class has fewer than the two images that a query and its support need, or when there
    are too few base classes (`empty`: queries without the support class need a second one).
    """
    pairs = index.pair_list("trn", fold)
    pool = ordinary_pool(index, pairs, index.train_classes(fold))
    small = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) < 2]
    if small and not drop_small:
        raise DataError(_too_few(index, pairs, pool, Task(fold)))
    pool = _without(pool, small)
    needed = 2 if empty else 1
    if len(pool.class_ids) < needed:
        raise DataError(
            f"{index.name} fold {fold} has {len(pool.class_ids)} base classes to train on, expected {needed} or more; "
            "use another fold or other folds"
        )
    return pool


def _without(pool: Pool, classes: Sequence[int]) -> Pool:
    kept = [number for number in pool.class_ids if number not in classes]
    return Pool([pair for pair in pool.pairs if pair[1] in kept], pool.images_of, kept, pool.query_rule)


def _too_few(index: AnnotationIndex, pairs: PairList, pool: Pool, task: Task) -> str:
    found = {index.class_names[number - 1]: len(pairs.images_of.get(number, ())) for number in pool.class_ids}
    small = ", ".join(f"{name} {n}" for name, n in found.items() if n <= task.shot)
    return (
        f"{index.name} fold {task.fold}: too few images of some classes for {task.shot} shots besides the query "
        f"({small}; {task.shot + 1} each are needed); add images, lower SHOT, or leave these classes out with "
        "DROP_SMALL=1 (--data.drop_small_classes true), which the record will say"
    )


def _check(index: AnnotationIndex, task: Task) -> None:
    index.check_fold(task.fold)
    if task.setting not in SETTINGS:
        raise SettingsError(f"unknown setting '{task.setting}'; there are: {', '.join(SETTINGS)}")
    for name, value in (("way", task.way), ("shot", task.shot)):
        if value < 1:
            raise SettingsError(f"{name} is {value}, expected 1 or more")
