"""What is to be evaluated, and the episodes that are drawn for it: (dataset, protocol, task) -> manifest."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice, zip_longest
from typing import Literal

import numpy as np

from fsbench.annotations import SIZE_BINS, AnnotationIndex, PairList
from fsbench.errors import DataError, SettingsError
from fsbench.manifest import Manifest
from fsbench.protocol import OTHERS, Protocol
from fsbench.samplers import (
    Episode,
    Pool,
    TooFewImages,
    augment,
    draw_episode,
    hsnet_episodes,
    image_pool,
    ordinary_pool,
    pfenet_episodes,
    size_pool,
)

SETTINGS = ("original", "partially_augmented", "fully_augmented", *SIZE_BINS)
"""Evaluation settings of the FS-CS protocol; the last ones are its size-restricted splits."""


@dataclass(frozen=True)
class Task:
    """What a manifest is drawn for.

    `classes` says which classes the episodes are about: "novel" those of the fold (the test), "base" the other ones, in
    validation images, "held_out" those that the data set keeps for choosing a checkpoint. `empty` allows queries
    without any support class, where the protocol does. `drop_small` leaves out classes that have too few images instead
    of stopping. `seed` is another one than the protocol's.
    """

    fold: int
    way: int = 1
    shot: int = 1
    setting: str = "original"
    empty: bool = True
    classes: Literal["novel", "base", "held_out"] = "novel"
    episodes: int | None = None
    drop_small: bool = False
    seed: int | None = None


def build_manifest(index: AnnotationIndex, protocol: Protocol, task: Task) -> Manifest:
    """Draw the episodes of `task`; opens masks for the augmented and size-restricted settings and PFENet's sampler.

    Raises SettingsError for an unknown fold, way, shot or setting and for what the protocol does not define, DataError
    for classes without enough images.
    """
    _check(index, protocol, task)
    size_restricted = task.setting in SIZE_BINS
    task = replace(task, empty=task.empty and protocol.empty_queries and not size_restricted)
    pairs, pool, length = _pool(index, protocol, task)
    needed = 2 if protocol.sampler == "hsnet" else task.shot + 1  # its supports may repeat
    dropped: list[int] = []
    if task.drop_small:
        dropped = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) < needed]
        pool = _without(pool, dropped)
    if task.way > len(pool.class_ids):
        raise SettingsError(f"way {task.way} is more than the {len(pool.class_ids)} classes of fold {task.fold}")
    if task.empty and len(pool.class_ids) < 2:
        raise SettingsError(
            f"fold {task.fold} has one class; queries without any support class need a second one; use another "
            "fold, or exclude them with --data.empty_masks false"
        )
    if not pool.pairs:
        raise DataError(f"{index.name} fold {task.fold} has no usable query for the setting {task.setting}")
    official = protocol.episode_count(index.name, len(pairs.pairs))
    requested = official if task.episodes is None else task.episodes
    number = min(requested, length) if length else requested
    try:
        episodes = tuple(islice(_episodes(index, protocol, pool, task), number))
    except TooFewImages as error:
        raise DataError(_too_few(index, pairs, pool, task.fold, needed)) from error
    header = {
        "protocol": protocol.name,
        "version": protocol.version,
        "dataset": index.name,
        **asdict(task),
        "seed": protocol.seed if task.seed is None else task.seed,
        "episodes": number,
        "class_ids": sorted(pool.class_ids),
        "class_names": {str(number): index.class_names[number - 1] for number in sorted(pool.class_ids)},
        "folds": index.folds,
        "requested": requested,
        "official_episodes": official,
        "dropped_classes": dropped,
        "lists": pairs.origin,
        "lists_sha256": pairs.sha256,
        "all_lists_sha256": _all_lists_sha256(index, protocol, task),
    }
    return Manifest(header, episodes)


def _all_lists_sha256(index: AnnotationIndex, protocol: Protocol, task: Task) -> str:
    """Of the lists of every fold: tells whether records of several folds are about the same data."""
    split = task.setting if task.setting in SIZE_BINS else validation_split(protocol)
    lists = [index.pair_list(split, fold).sha256 for fold in range(index.folds)]
    return hashlib.sha256("".join(lists).encode()).hexdigest()


def validation_split(protocol: Protocol) -> str:
    """Name of the list of novel classes in validation images that the protocol uses."""
    return "pfenet-val" if protocol.sampler == "pfenet" else "val"


def _episodes(index: AnnotationIndex, protocol: Protocol, pool: Pool, task: Task) -> Iterator[Episode]:
    """The episodes of `task`, without end."""
    seed = (protocol.seed if task.seed is None else task.seed) or 0
    if protocol.sampler == "hsnet":
        return hsnet_episodes(pool, shot=task.shot, seed=seed)
    if protocol.sampler == "pfenet":
        streams = protocol.streams.get(index.name, protocol.streams[OTHERS])
        return pfenet_episodes(pool, shot=task.shot, seed=seed, streams=streams)
    return (_fscs_episode(i, index, pool, task) for i in count())


def _fscs_episode(i: int, index: AnnotationIndex, pool: Pool, task: Task) -> Episode:
    rng = np.random.RandomState(i)  # the official seed of item i
    episode = draw_episode(i, rng, pool, way=task.way, shot=task.shot, empty=task.empty)
    if task.setting in ("partially_augmented", "fully_augmented"):
        targets = pool.class_ids if task.setting == "fully_augmented" else None
        episode = augment(episode, rng, targets, index.class_pixels, index.augment_threshold)
    return episode


def _pool(index: AnnotationIndex, protocol: Protocol, task: Task) -> tuple[PairList, Pool, int | None]:
    """Pair list, pool, and the number of items where the setting has its own."""
    if task.setting in SIZE_BINS:
        lists = [index.pair_list(task.setting, fold) for fold in range(index.folds)]
        pools = [size_pool(pairs, index.query_rule, way=task.way, shot=task.shot) for pairs in lists]
        return lists[task.fold], pools[task.fold], max(len(pool.pairs) for pool in pools)
    split = validation_split(protocol)
    if task.classes == "base":
        pairs, class_ids = base_validation_pairs(index, task.fold, split), index.train_classes(task.fold)
    elif task.classes == "held_out":
        class_ids = index.held_out_classes(task.fold)
        if not class_ids:
            raise SettingsError(f"{index.name} keeps no classes for validation; choose novel or base ones")
        pairs = index.pair_list("held_out", task.fold)
    else:
        pairs, class_ids = index.pair_list(split, task.fold), index.test_classes(task.fold)
    make_pool = image_pool if protocol.sampler == "pfenet" else ordinary_pool
    return pairs, make_pool(index, pairs, class_ids), None


def base_validation_pairs(index: AnnotationIndex, fold: int, split: str = "val") -> PairList:
    """Base classes of `fold` in validation images: the lists `split` of the other folds, a pair of each in turn, so
    that the first episodes are about all of them."""
    lists = [index.pair_list(split, other) for other in range(index.folds) if other != fold]
    if not lists:
        raise SettingsError(f"{index.name} has one fold, so there are no base classes to validate on")
    origins = dict.fromkeys(pairs.origin for pairs in lists)
    turns = zip_longest(*(pairs.pairs for pairs in lists))
    return PairList(tuple(pair for turn in turns for pair in turn if pair is not None), ", ".join(origins))


def training_split(protocol: Protocol) -> str:
    """Name of the list of base classes in training images that the protocol uses."""
    return "pfenet-trn" if protocol.sampler == "pfenet" else "trn"


def training_pool(
    index: AnnotationIndex, protocol: Protocol, fold: int, drop_small: bool, empty: bool = True, shot: int = 1
) -> Pool:
    """Pool of 1-way training episodes of `shot` supports: base classes in training images.

    Raises DataError when a base class has fewer images than a query and its supports need, or when there are too few
    base classes (`empty`: queries without the support class need a second one).
    """
    pairs = index.pair_list(training_split(protocol), fold)
    make_pool = image_pool if protocol.sampler == "pfenet" else ordinary_pool
    pool = make_pool(index, pairs, index.train_classes(fold))
    small = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) <= shot]
    if small and not drop_small:
        raise DataError(_too_few(index, pairs, pool, fold, shot + 1, "SHOT" if shot == 1 else "--data.training_shot"))
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
    return replace(pool, pairs=[pair for pair in pool.pairs if pair[1] in kept], class_ids=kept)


def _too_few(index: AnnotationIndex, pairs: PairList, pool: Pool, fold: int, needed: int, setting: str = "SHOT") -> str:
    found = {index.class_names[number - 1]: len(pairs.images_of.get(number, ())) for number in pool.class_ids}
    small = ", ".join(f"{name} {n}" for name, n in found.items() if n < needed)
    return (
        f"{index.name} fold {fold}: too few images of some classes for a query and its supports "
        f"({small}; {needed} each are needed); add images, lower {setting}, or leave these classes out with "
        "DROP_SMALL=1 (--drop-small), which the record will say"
    )


def _check(index: AnnotationIndex, protocol: Protocol, task: Task) -> None:
    index.check_fold(task.fold)
    if task.setting not in SETTINGS:
        raise SettingsError(f"unknown setting '{task.setting}'; there are: {', '.join(SETTINGS)}")
    if protocol.settings == "original" and task.setting != "original":
        raise SettingsError(f"protocol {protocol.name} has no setting '{task.setting}'; choose original, or fscs")
    if protocol.ways == "one" and task.way > 1:
        raise SettingsError(f"protocol {protocol.name} is 1-way, found way {task.way}; choose WAY=1, or fscs")
    if protocol.seed is None and task.seed is not None:
        raise SettingsError(f"protocol {protocol.name} seeds episodes by their index; found test seed {task.seed}")
    if task.seed is not None and not 0 <= task.seed < 2**32:
        raise SettingsError(f"test seed is {task.seed}, expected 0 to {2**32 - 1}")
    for name, value in (("way", task.way), ("shot", task.shot), ("episodes", task.episodes)):
        if value is not None and value < 1:
            raise SettingsError(f"{name} is {value}, expected 1 or more")
