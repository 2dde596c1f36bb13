"""Draw the episodes of a manifest: (data set, protocol, task) -> manifest."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any

import numpy as np

from fsbench.data.dataset import PairList, SegmentationIndex
from fsbench.episodes.episode import Episode
from fsbench.episodes.manifest import Manifest
from fsbench.episodes.settings import SIZE_BINS
from fsbench.episodes.task import EpisodeTask
from fsbench.errors import DataError, SettingsError
from fsbench.protocols.base import OTHERS, Protocol
from fsbench.protocols.draws import augment, draw_episode, fssdino_episodes, hsnet_episodes, pfenet_episodes
from fsbench.protocols.fssdino import LargeObjectIndex
from fsbench.protocols.incontext import InContextIndex
from fsbench.protocols.lists import base_validation_pairs, pair_list, validation_split
from fsbench.protocols.pools import Pool, TooFewImages, image_pool, ordinary_pool, size_pool, too_few_images

ONE_STREAM = ("hsnet", "incontext")
"""Samplers that draw all episodes from one stream; supports may repeat."""


def draw_manifest(index: SegmentationIndex, protocol: Protocol, task: EpisodeTask) -> Manifest:
    """Draw the episodes of `task`; opens masks for the augmented and size-restricted settings and PFENet's sampler.

    Raises:
        SettingsError: unknown fold, way, shot or setting, or a choice that the protocol does not define.
        DataError: a class has too few images.
    """
    protocol.check(index, task)
    background = task.allow_background_queries and protocol.empty_queries and task.setting not in SIZE_BINS
    task = replace(task, allow_background_queries=background)
    if protocol.sampler == "fssdino":
        return _large_object_manifest(index, protocol, task)
    if isinstance(index, InContextIndex):
        return _in_context_manifest(index, protocol, task)
    pairs, pool, length = _pool(index, protocol, task)
    needed = 2 if protocol.sampler in ONE_STREAM else task.shot + 1  # its supports may repeat
    skipped: list[int] = []
    if task.skip_small_classes:
        skipped = [number for number in pool.class_ids if len(pairs.images_of.get(number, ())) < needed]
        pool = pool.without(skipped)
    _check_pool(index, pool, task)
    official = protocol.episode_count(index.name, len(pairs.pairs))
    requested = official if task.episodes is None else task.episodes
    if index.one_pass and protocol.sampler == "incontext":
        length = len(pairs.pairs)
    number = min(requested, length) if length else requested
    try:
        episodes = tuple(islice(_episodes(index, protocol, pool, task), number))
    except TooFewImages as error:
        raise DataError(too_few_images(index, pairs, pool, task.fold, needed)) from error
    header = _header(index, protocol, task, pool.class_ids) | {
        "episodes": number,
        "requested": requested,
        "official_episodes": official,
        "dropped_classes": skipped,
        "lists": pairs.origin,
        "lists_sha256": pairs.sha256,
        "all_lists_sha256": _all_lists_sha256(index, protocol, task),
    }
    return Manifest(header, episodes)


def _header(
    index: SegmentationIndex, protocol: Protocol, task: EpisodeTask, class_ids: Sequence[int]
) -> dict[str, Any]:
    """Return the entries of a header in the order that its hash covers; those of the lists are still empty."""
    return {
        "protocol": protocol.name,
        "version": protocol.version,
        "dataset": index.name,
        **task.header(),
        "seed": _seed(protocol, task),
        "class_ids": sorted(class_ids),
        "class_names": {str(number): index.class_names[number - 1] for number in sorted(class_ids)},
        "folds": index.folds,
    }


def _seed(protocol: Protocol, task: EpisodeTask) -> int | None:
    return protocol.seed if task.seed is None else task.seed


def _in_context_manifest(index: InContextIndex, protocol: Protocol, task: EpisodeTask) -> Manifest:
    """Draw the episodes of a data set with a rule of its own.

    Raises:
        SettingsError: another protocol than in-context, or classes besides those of the fold.
        DataError: a class has too few images.
    """
    if protocol.sampler != "incontext":
        raise SettingsError(
            f"{index.name} is tested with the protocol incontext, found {protocol.name}; choose PROTOCOL=incontext"
        )
    if task.classes != "novel":
        raise SettingsError(
            f"{index.name} has no {task.classes} classes to validate on; test a method without training"
        )
    run = index.episode_run(task.fold, task.shot, _seed(protocol, task) or 0)
    if not run.class_ids:
        raise DataError(
            f"{index.name} fold {task.fold} has no class with more than {task.shot} images; lower SHOT, or use the "
            "complete annotation files"
        )
    official = protocol.episode_count(index.name, run.length or 0)
    requested = official if task.episodes is None else task.episodes
    number = min(requested, requested if run.length is None else run.length)
    try:
        episodes = tuple(islice(run.episodes, number))
    except TooFewImages as error:
        raise DataError(f"{index.name} fold {task.fold}, {index.name_of(error.number)}: {error}; lower SHOT") from error
    header = _header(index, protocol, task, run.class_ids) | {
        "episodes": number,
        "requested": requested,
        "official_episodes": official,
        "dropped_classes": [],
        "lists": index.annotations_origin,
        "lists_sha256": index.annotations_sha256,
        "all_lists_sha256": index.annotations_sha256,
    }
    return Manifest(header, episodes)


def _large_object_manifest(index: SegmentationIndex, protocol: Protocol, task: EpisodeTask) -> Manifest:
    """Draw the episodes of FSSDINO's own test.

    Raises:
        SettingsError: the data set does not have it, or classes besides those of the fold.
        DataError: a class has too few images.
    """
    if not isinstance(index, LargeObjectIndex):
        raise SettingsError(
            f"{index.name} has no test of the protocol {protocol.name}, which is about COCO's annotated objects; "
            "choose DATASET=coco, or another protocol"
        )
    if task.classes != "novel":
        raise SettingsError(
            f"the protocol {protocol.name} has no {task.classes} classes to validate on; test a method without training"
        )
    found = index.large_object_images(task.fold)
    needed = task.shot + 1
    small = [number for number, names in found.images_of.items() if len(names) < needed]
    class_ids = [number for number in found.images_of if number not in small]
    if not class_ids or (small and not task.skip_small_classes):
        counts = ", ".join(f"{index.name_of(number)} {len(found.images_of[number])}" for number in small)
        raise DataError(
            f"{index.name} fold {task.fold}: too few images with large objects of some classes ({counts}; {needed} "
            "each are needed); take the complete images and annotations, lower SHOT, or leave these classes out with "
            "DROP_SMALL=1 (--drop-small), which the record will say"
        )
    official = protocol.episode_count(index.name, 0)
    requested = official if task.episodes is None else task.episodes
    images_of = {number: found.images_of[number] for number in class_ids}
    drawn = fssdino_episodes(images_of, way=task.way, shot=task.shot, seed=_seed(protocol, task) or 0)
    header = _header(index, protocol, task, class_ids) | {
        "episodes": requested,
        "requested": requested,
        "official_episodes": official,
        "dropped_classes": small,
        "lists": found.origin,
        "lists_sha256": found.sha256,
        "all_lists_sha256": found.sha256,
    }
    return Manifest(header, tuple(islice(drawn, requested)))


def _check_pool(index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> None:
    """Raise an error unless `pool` has enough classes and a query."""
    if task.way > len(pool.class_ids):
        raise SettingsError(f"way {task.way} is more than the {len(pool.class_ids)} classes of fold {task.fold}")
    if task.allow_background_queries and len(pool.class_ids) < 2:
        raise SettingsError(
            f"fold {task.fold} has one class; queries without any support class need a second one; use another "
            "fold, or exclude them with --data.empty_masks false"
        )
    if not pool.pairs:
        raise DataError(f"{index.name} fold {task.fold} has no usable query for the setting {task.setting}")


def _all_lists_sha256(index: SegmentationIndex, protocol: Protocol, task: EpisodeTask) -> str:
    """Return the hash of the lists of every fold, which tells whether records of several folds share their data."""
    split = task.setting if task.setting in SIZE_BINS else validation_split(protocol)
    lists = [pair_list(index, split, fold).sha256 for fold in range(index.folds)]
    return hashlib.sha256("".join(lists).encode()).hexdigest()


def _episodes(index: SegmentationIndex, protocol: Protocol, pool: Pool, task: EpisodeTask) -> Iterator[Episode]:
    """Yield the episodes of `task` without end."""
    seed = _seed(protocol, task) or 0
    if protocol.sampler in ONE_STREAM:
        return hsnet_episodes(pool, shot=task.shot, seed=seed)
    if protocol.sampler == "pfenet":
        streams = protocol.streams.get(index.name, protocol.streams[OTHERS])
        return pfenet_episodes(pool, shot=task.shot, seed=seed, streams=streams)
    return (_fscs_episode(i, index, pool, task) for i in count())


def _fscs_episode(i: int, index: SegmentationIndex, pool: Pool, task: EpisodeTask) -> Episode:
    rng = np.random.RandomState(i)  # the official seed of item i
    episode = draw_episode(i, rng, pool, way=task.way, shot=task.shot, background=task.allow_background_queries)
    if task.setting in ("partially_augmented", "fully_augmented"):
        targets = pool.class_ids if task.setting == "fully_augmented" else None
        episode = augment(episode, rng, targets, index.class_pixels, index.augment_threshold)
    return episode


def _pool(index: SegmentationIndex, protocol: Protocol, task: EpisodeTask) -> tuple[PairList, Pool, int | None]:
    """Return pair list, pool, and the number of episodes where the setting has its own."""
    if task.setting in SIZE_BINS:
        lists = [pair_list(index, task.setting, fold) for fold in range(index.folds)]
        pools = [size_pool(pairs, index.query_sampling, way=task.way, shot=task.shot) for pairs in lists]
        return lists[task.fold], pools[task.fold], max(len(pool.pairs) for pool in pools)
    split = validation_split(protocol)
    if task.classes == "base":
        pairs, class_ids = base_validation_pairs(index, task.fold, split), index.train_classes(task.fold)
    elif task.classes == "held_out":
        class_ids = index.val_classes(task.fold)
        if not class_ids:
            raise SettingsError(f"{index.name} keeps no classes for validation; choose novel or base ones")
        pairs = pair_list(index, "held_out", task.fold)
    else:
        pairs, class_ids = pair_list(index, split, task.fold), index.test_classes(task.fold)
    make_pool = image_pool if protocol.sampler == "pfenet" else ordinary_pool
    return pairs, make_pool(index, pairs, class_ids), None
