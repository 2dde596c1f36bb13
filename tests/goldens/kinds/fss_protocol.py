"""Lists, episodes and preprocessing of HSNet's and PFENet's protocols (fss-protocol, hmnet.md §11)."""

import hashlib
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image

from fsbench.data.batch import normalise
from fsbench.data.dataset import VOID, Pair
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import resize_image
from fsbench.datamodules.lists.official import read_official
from fsbench.protocols.draws.by_word import one_stream
from fsbench.protocols.episode_rules.pools import Pool
from fsbench.protocols.episode_rules.streams import loader_seeds
from tests.goldens.cases import Case, Skipped
from tests.goldens.declared import Kind, Parts, Results, Same, absolute
from tests.goldens.meters import episode_list, line_of, listed_pool, parse_pair, same_list

FSS_OFFSETS = {"trn": 0, "val": 520, "test": 760}
FSS_SHA256 = {  # of the sorted class names, a line each (fss-protocol §3.3)
    "trn": "4e236fa8eda2543a988f734f8ea728a6f321bb426ec79cc121c5f4f115f41f10",
    "val": "bae6fbf5aa020ce4e589b76c51da21cc9b77970877579612e0a0d3c4b43688b0",
    "test": "0efbe526c0dd445b580de07cae179df51fffc91255599e96b13d8b16e7e04c0c",
}


def episodes(case: Case) -> Parts:
    """Episodes of synthetic lists, as text lines (fss-protocol §11)."""
    for name, lines in case.data["episodes"].items():
        words = name.split("_")  # <data set>[_<split>]_<K>shot
        pool = _synthetic_pool(case.data, words[0], words[1] if len(words) == 3 else None)
        shot = int(words[-1].removesuffix("shot"))
        yield {f"{name}: {len(lines)} episodes": Same(_lines(pool, shot, len(lines)), lines)}


def _synthetic_pool(data: dict[str, Any], dataset: str, split: str | None) -> Pool:
    if dataset == "fss":
        classes = data["fss"]["split_val"] if split == "val" else data["fss"]["classes_unsorted"]
        return fss_pool(classes, split or "test")
    if dataset == "pascal":
        return listed_pool([parse_pair(line) for line in data["pascal"]["list"]], "sequential")
    by_class = {int(key): names for key, names in data["coco"]["classwise"].items() if names}
    return listed_pool([(name, key + 1) for key in sorted(by_class) for name in by_class[key]], "class_first")


def fss_pool(classes: Sequence[str], split: str) -> Pool:
    """Items in the order of file names as strings, supports in that of numbers."""
    numbers = sorted(range(1, 11), key=lambda number: f"{number}.jpg")
    named = {name: FSS_OFFSETS[split] + rank + 1 for rank, name in enumerate(sorted(classes))}
    pairs = [(f"{name}/{number}", rank) for name, rank in named.items() for number in numbers]
    supports = {rank: [f"{name}/{number}" for number in range(1, 11)] for name, rank in named.items()}
    return Pool(pairs, supports, sorted(supports), "sequential")


def _lines(pool: Pool, shot: int, count: int) -> list[str]:
    return [line_of(episode) for episode in islice(one_stream("of the data set", pool, shot=shot), count)]


def official_pool(case: Case, dataset: str, split: str, fold: int | None, rule: str) -> Pool:
    """Return the pool of an official list, or of a split of FSS-1000."""
    if case.lists is None or not (case.lists / "hsnet").is_dir():
        raise Skipped("it needs the official lists: --lists DIR (with the folder hsnet) or $FSBENCH_TEST_DATA")
    if dataset == "fss":
        return fss_pool((case.lists / "hsnet" / "fss" / f"{split}.txt").read_text().split(), split)
    assert fold is not None
    pairs = read_official([case.lists / "hsnet"], dataset, split, fold)
    assert pairs is not None
    return listed_pool(pairs.pairs, rule)


def official_episodes(case: Case, dataset: str, split: str, shot: int, fold: int | None = None) -> Results:
    """Episodes of the official lists; the lists come from `--lists`."""
    rule = "sequential" if dataset == "pascal" else "class_first"
    return episode_list(case, official_pool(case, dataset, split, fold, rule), "of the data set", shot)


def pascal_lists(case: Case) -> Parts:
    """The released lists against the checksums that ours are verified with."""
    found: dict[tuple[str, int], list[Pair]] = {}
    for line in case.data.splitlines():
        split, fold, pair = line.split()
        found.setdefault((split, int(fold)), []).append(parse_pair(pair))
    for (split, fold), pairs in found.items():
        yield same_list("pascal", split, fold, pairs)


def coco_order(case: Case) -> Parts:
    names = {
        int(words[0]): [f"val2014/COCO_val2014_{int(image):012d}.jpg" for image in words[1:]]
        for words in map(str.split, case.data.splitlines())
    }
    for fold in range(4):
        pairs = [(name, key + 1) for key in sorted(names) if key % 4 == fold for name in names[key]]
        yield same_list("coco", "val", fold, pairs)


def fss_splits(case: Case) -> Parts:
    splits: dict[str, list[str]] = {}
    for line in case.data.splitlines():
        split, name = line.split()
        splits.setdefault(split, []).append(name)
    for split, expected in FSS_SHA256.items():
        text = "".join(f"{name}\n" for name in sorted(splits[split]))
        found = hashlib.sha256(text.encode()).hexdigest()
        yield {f"{split}: {len(splits[split])} classes": Same(found, expected)}


def preprocess(case: Case, S: int, image_uint8: np.ndarray, label: np.ndarray) -> Results:
    image, small = Image.fromarray(image_uint8.astype(np.uint8)), resize_labels(label.astype(np.uint8), S, S)
    found = {"image": normalise(resize_image(image, S)), "label_nearest": small}
    for name in case.group("out."):
        kind, _, number = name.partition(".c")
        if kind in ("pascal_mask", "coco_mask"):
            found[name] = way_labels(small, [int(number) + 1]) == 1
        elif kind == "pascal_ignore":
            found[name] = way_labels(small, [int(number) + 1]) == VOID
        elif kind.startswith("fss_mask"):
            found[name] = resize_labels((np.asarray(image.convert("L")) >= 128).astype(np.uint8), S, S)
    return {"out.": found}


def nearest_resize(case: Case, out: int) -> Results:
    return {"out.": {name: resize_labels(labels.numpy(), out, out) for name, labels in case.group("in.").items()}}


def pfenet_pass(case: Case) -> Parts:
    """A pass over a list with one stream, and the seeds that torch gives the loader processes."""
    shot = case.data["config"]["shot"]
    for mode in ("val", "train"):
        data = case.data[mode]
        files = {int(number): names for number, names in data["class_files"].items()}
        pool = Pool(
            [(name, 0) for name in data["list"]], files, sorted(files), "image_first", data["labels"].__getitem__
        )
        drawn = one_stream("image then class", pool, shot=shot, seed=data["random_seed"])
        found = list(islice(drawn, len(pool.images)))
        values = {
            "query": [e.query for e in found],
            "class": [e.query_class for e in found],
            "cat_idx": [pool.class_ids.index(e.query_class) for e in found],
            "supports_in_draw_order": [list(reversed(e.supports[0])) for e in found],
            "supports_in_stack_order": [list(e.supports[0]) for e in found],
        }
        for key, value in values.items():
            yield {f"{mode}: {key}": Same(value, [episode[key] for episode in data["episodes"]])}
    for seed, seeds in case.data["loader_base_seeds"].items():
        yield {f"loader seeds after {seed}": Same(list(islice(loader_seeds(int(seed)), len(seeds))), seeds)}


def any_episodes(case: Case) -> Parts:
    return episodes(case) if "fss" in case.data else pfenet_pass(case)


KINDS = {
    "episodes": Kind(any_episodes, accepts=lambda case: "fss" in case.data or "loader_base_seeds" in case.data),
    "episodes_official_lists": Kind(official_episodes, accepts=lambda case: isinstance(case.data, str)),
    "pascal_lists": Kind(pascal_lists),
    "coco_val_order": Kind(coco_order),
    "fss1000_splits": Kind(fss_splits),
    "preprocess": Kind(
        preprocess, {"out.image": absolute(0.02)}, accepts=lambda case: "in.image_uint8" in case.tensors
    ),
    "nearest_resize": Kind(nearest_resize),
}
