"""Lists, episodes and preprocessing of HSNet's and PFENet's protocols (fss-protocol, hmnet.md §11)."""

import hashlib
import random
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from PIL import Image

from datamodules.lists.official import checksums, read_official
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD
from fsbench.data.dataset import VOID, Pair, PairList, pairs_sha256
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image
from fsbench.episodes.episode import Episode
from fsbench.protocols.hsnet import hsnet_episodes
from fsbench.protocols.pfenet import loader_seeds, pfenet_episode
from fsbench.protocols.pools import Pool
from tests.goldens.harness import EXACT, Case, Comparison, Comparisons, Skipped, absolute, equal

FSS_OFFSETS = {"trn": 0, "val": 520, "test": 760}
FSS_SHA256 = {  # of the sorted class names, a line each (fss-protocol §3.3)
    "trn": "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    "val": "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    "test": "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
}


def episodes(case: Case) -> Comparisons:
    """Episodes of synthetic lists, as text lines (fss-protocol §11)."""
    for name, lines in case.data["episodes"].items():
        words = name.split("_")  # <data set>[_<split>]_<K>shot
        pool = _synthetic_pool(case.data, words[0], words[1] if len(words) == 3 else None)
        shot = int(words[-1].removesuffix("shot"))
        yield equal(f"{name}: {len(lines)} episodes", _lines(pool, shot, len(lines)), lines)


def _synthetic_pool(data: dict[str, Any], dataset: str, split: str | None) -> Pool:
    if dataset == "fss":
        classes = data["fss"]["split_val"] if split == "val" else data["fss"]["classes_unsorted"]
        return _fss_pool(classes, split or "test")
    if dataset == "pascal":
        pairs = [_pascal_pair(line) for line in data["pascal"]["list"]]
        return _pool(pairs, "sequential")
    by_class = {int(key): names for key, names in data["coco"]["classwise"].items() if names}
    return _pool([(name, key + 1) for key in sorted(by_class) for name in by_class[key]], "class_first")


def _pascal_pair(line: Any) -> Pair:
    """`<image id>__<class>` as in the files, or [image id, class id] with ids from 0."""
    if isinstance(line, str):
        name, _, number = line.partition("__")
        return name, int(number)
    return line[0], int(line[1]) + 1


def _pool(pairs: Sequence[Pair], rule: Any) -> Pool:
    listed = PairList(tuple(pairs), "golden")
    return Pool(listed.pairs, listed.images_of, sorted(listed.images_of), rule)


def _fss_pool(classes: Sequence[str], split: str) -> Pool:
    """Items in the order of file names as strings, supports in that of numbers."""
    numbers = sorted(range(1, 11), key=lambda number: f"{number}.jpg")
    named = {name: FSS_OFFSETS[split] + rank + 1 for rank, name in enumerate(sorted(classes))}
    pairs = [(f"{name}/{number}", rank) for name, rank in named.items() for number in numbers]
    supports = {rank: [f"{name}/{number}" for number in range(1, 11)] for name, rank in named.items()}
    return Pool(pairs, supports, sorted(supports), "sequential")


def _lines(pool: Pool, shot: int, count: int) -> list[str]:
    return [line_of(episode) for episode in islice(hsnet_episodes(pool, shot=shot), count)]


def line_of(episode: Episode) -> str:
    return f"{episode.index}\t{episode.query_class - 1}\t{episode.query}\t{','.join(episode.supports[0])}"


def official_episodes(case: Case) -> Comparisons:
    """Episodes of the official lists; the lists come from `--lists`."""
    if case.lists is None or not (case.lists / "hsnet").is_dir():
        raise Skipped("it needs the official lists: --lists DIR (with the folder hsnet) or $FSBENCH_TEST_DATA")
    config, lines = case.config, case.data.splitlines()
    if config["dataset"] == "fss":
        names = (case.lists / "hsnet" / "fss" / f"{config['split']}.txt").read_text().split()
        pool = _fss_pool(names, config["split"])
    else:
        pairs = read_official([case.lists / "hsnet"], config["dataset"], config["split"], config["fold"])
        assert pairs is not None
        pool = _pool(pairs.pairs, "sequential" if config["dataset"] == "pascal" else "class_first")
    yield equal(f"{len(lines)} episodes", _lines(pool, config["shot"], len(lines)), lines)
    if "sha256_of_text" in case.entry:
        yield equal("sha256 of the text", hashlib.sha256(case.data.encode()).hexdigest(), case.entry["sha256_of_text"])


def pascal_lists(case: Case) -> Comparisons:
    """The released lists against the checksums that ours are verified with."""
    found: dict[tuple[str, int], list[Pair]] = {}
    for line in case.data.splitlines():
        split, fold, pair = line.split()
        found.setdefault((split, int(fold)), []).append(_pascal_pair(pair))
    for (split, fold), pairs in found.items():
        yield _list_comparison("pascal", split, fold, pairs)


def coco_order(case: Case) -> Comparisons:
    names = {
        int(words[0]): [f"val2014/COCO_val2014_{int(image):012d}.jpg" for image in words[1:]]
        for words in map(str.split, case.data.splitlines())
    }
    for fold in range(4):
        pairs = [(name, key + 1) for key in sorted(names) if key % 4 == fold for name in names[key]]
        yield _list_comparison("coco", "val", fold, pairs)


def _list_comparison(dataset: str, split: str, fold: int, pairs: Sequence[Pair]) -> Comparison:
    known = checksums(dataset)[split, fold]
    images = len({name for name, _ in pairs})
    found = (len(pairs), images, pairs_sha256(tuple(pairs), ordered=False), pairs_sha256(tuple(pairs), ordered=True))
    expected = (known.pairs, known.images, known.sha256_sorted, known.sha256_ordered)
    return equal(f"{dataset} {split} fold {fold}", found, expected)


def fss_splits(case: Case) -> Comparisons:
    splits: dict[str, list[str]] = {}
    for line in case.data.splitlines():
        split, name = line.split()
        splits.setdefault(split, []).append(name)
    for split, expected in FSS_SHA256.items():
        text = "".join(f"{name}\n" for name in sorted(splits[split]))
        yield equal(f"{split}: {len(splits[split])} classes", hashlib.sha256(text.encode()).hexdigest(), expected)


def preprocess(case: Case) -> Comparisons:
    size = case.config["S"]
    picture, labels = (case.tensors[name].numpy().astype(np.uint8) for name in ("in.image_uint8", "in.label"))
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    image = Image.fromarray(picture)
    yield case.compare("out.image", (resize_image(image, size).float() / 255 - mean) / std, absolute(0.02))
    small = resize_labels(labels, size, size)
    yield case.compare("out.label_nearest", small, EXACT)
    for name in case.group("out."):
        kind, _, number = name.partition(".c")
        if kind == "pascal_mask":
            yield case.compare(f"out.{name}", way_labels(small, [int(number) + 1]) == 1, EXACT)
        elif kind == "pascal_ignore":
            yield case.compare(f"out.{name}", way_labels(small, [int(number) + 1]) == VOID, EXACT)
        elif kind == "coco_mask":
            yield case.compare(f"out.{name}", way_labels(small, [int(number) + 1]) == 1, EXACT)
        elif kind.startswith("fss_mask"):
            grey = np.asarray(image.convert("L"))
            yield case.compare(f"out.{name}", resize_labels((grey >= 128).astype(np.uint8), size, size), EXACT)


def nearest_resize(case: Case) -> Comparisons:
    size = case.config["out"]
    for name, labels in case.group("in.").items():
        yield case.compare(f"out.{name}", resize_labels(labels.numpy(), size, size), EXACT)


def pfenet_pass(case: Case) -> Comparisons:
    """A pass over a list with one stream, and the seeds that torch gives the loader processes."""
    shot = case.data["config"]["shot"]
    for mode in ("val", "train"):
        data = case.data[mode]
        files = {int(number): names for number, names in data["class_files"].items()}
        pool = Pool(
            [(name, 0) for name in data["list"]], files, sorted(files), "image_first", data["labels"].__getitem__
        )
        rng = random.Random(data["random_seed"])
        found = [pfenet_episode(i, name, rng, pool, shot=shot) for i, name in enumerate(pool.images)]
        for key, value in (
            ("query", [e.query for e in found]),
            ("class", [e.query_class for e in found]),
            ("cat_idx", [pool.class_ids.index(e.query_class) for e in found]),
            ("supports_in_draw_order", [list(reversed(e.supports[0])) for e in found]),
            ("supports_in_stack_order", [list(e.supports[0]) for e in found]),
        ):
            yield equal(f"{mode}: {key}", value, [episode[key] for episode in data["episodes"]])
    for seed, seeds in case.data["loader_base_seeds"].items():
        yield equal(f"loader seeds after {seed}", list(islice(loader_seeds(int(seed)), len(seeds))), seeds)


def any_episodes(case: Case) -> Comparisons:
    return episodes(case) if "fss" in case.data else pfenet_pass(case)


KINDS = {
    "episodes": (lambda case: "fss" in case.data or "loader_base_seeds" in case.data, any_episodes),
    "episodes_official_lists": (lambda case: isinstance(case.data, str), official_episodes),
    "pascal_lists": pascal_lists,
    "coco_val_order": coco_order,
    "fss1000_splits": fss_splits,
    "preprocess": (lambda case: "in.image_uint8" in case.tensors, preprocess),
    "nearest_resize": nearest_resize,
}
