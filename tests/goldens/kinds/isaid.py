"""Lists, episodes, label maps and scores of iSAID-5i by the programs of GF-SAM, SDM and R2Net (isaid-protocol)."""

import gzip
import hashlib
import random
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.datasets.isaid import Isaid, Isaid512
from datamodules.lists.official import checksums
from fsbench.data.dataset import VOID, pairs_sha256
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.episodes.episode import Episode
from fsbench.metrics.confusion import background_intersection_union, fb_iou, intersection_union, mean_iou
from fsbench.metrics.episodic import count
from fsbench.protocols.hsnet import hsnet_episodes
from fsbench.protocols.isaid import sdm_episodes
from fsbench.protocols.pfenet import pfenet_episode
from fsbench.protocols.pools import Pool
from fsbench.protocols.segmentation import load_segmentation
from tests.goldens.harness import EXACT, Case, Comparisons, absolute, equal
from tests.goldens.kinds.fss_protocol import _pascal_pair, _pool, line_of
from tests.goldens.kinds.incontext import ISAID_LISTS


def _rows(episodes: Iterator[Episode], number: int) -> list[list[Any]]:
    """Return class id, query and supports of the first episodes."""
    return [[e.query_class - 1, e.query, list(e.supports[0])] for e in islice(episodes, number)]


def episodes(case: Case) -> Comparisons:
    config, lists = case.config, case.data["lists"]
    fold, test = config["fold"], config["split"] == "test"
    chosen = [lists["val"][fold]] if test else [own for other, own in enumerate(lists["trn"]) if other != fold]
    pool = _pool([_pascal_pair(line) for own in chosen for line in own], "sequential")
    yield equal("items", len(pool.pairs), case.data["length"])
    index = object.__new__(Isaid)  # its classes alone; there are no files
    expected = index.test_classes(fold) if test else index.train_classes(fold)
    yield equal("classes", [number - 1 for number in expected], case.data["classes"])
    drawn = hsnet_episodes(pool, shot=config["shot"], seed=config["seed"])
    yield equal("episodes", _rows(drawn, config["episodes"]), case.data["episodes"])


def official_episodes(case: Case) -> Comparisons:
    config, lines = case.config, case.data.splitlines()
    listed = [line.split() for line in gzip.decompress(ISAID_LISTS.read_bytes()).decode().splitlines()]
    pool = _pool([_pascal_pair(pair) for own, pair in listed if int(own) == config["fold"]], "sequential")
    drawn = hsnet_episodes(pool, shot=config["shot"], seed=0)
    yield equal(f"{len(lines)} episodes", [line_of(e) for e in islice(drawn, len(lines))], lines)
    yield equal("sha256 of the text", hashlib.sha256(case.data.encode()).hexdigest(), case.entry["sha256_of_text"])
    official = load_segmentation("isaid").episode_count("isaid", len(pool.pairs))
    yield equal("episodes of a run", min(official, config["episodes"]), len(lines))


def lists(case: Case) -> Comparisons:
    """All six lists against the checksums that ours are verified with."""
    lines = [line.split() for line in case.data.splitlines()]
    for split, fold in ((split, fold) for split in ("trn", "val") for fold in range(3)):
        pairs = tuple(_pascal_pair(pair) for part, own, pair in lines if (part, int(own)) == (split, fold))
        known = checksums("isaid")[split, fold]
        found = (len(pairs), pairs_sha256(pairs, ordered=False), pairs_sha256(pairs, ordered=True))
        yield equal(f"{split} {fold}", found, (known.pairs, known.sha256_sorted, known.sha256_ordered))
    yield equal("sha256 of the text", hashlib.sha256(case.data.encode()).hexdigest(), case.entry["sha256_of_text"])


def sdm(case: Case) -> Comparisons:
    pool = _pool([_pascal_pair(line) for line in case.data["list"]], "sequential")
    seed = load_segmentation("isaid_sdm").seed
    assert seed is not None
    drawn = sdm_episodes(pool, shot=case.config["shot"], seed=seed)
    yield equal("episodes", _rows(drawn, case.config["episodes"]), case.data["episodes"])


def r2net(case: Case) -> Comparisons:
    """Episodes in one process, whose generator goes on from pass to pass."""
    config, data = case.config, case.data
    index = object.__new__(Isaid512)  # its classes alone; there are no files
    index.division = config["variant"]
    classes = index.test_classes(config["split"])
    yield equal("classes of the fold", classes, data["fold_classes"])
    images_of = {int(number): names for number, names in data["class_lists"].items()}
    pairs = [(name, classes[0]) for name in data["queries"]]
    pool = Pool(pairs, images_of, classes, "image_first", data["present"].__getitem__)
    rng = random.Random(config["seed"])
    drawn = [
        pfenet_episode(i, query, rng, pool, shot=config["shot"])
        for i, query in islice(enumerate(cycle(pool.images)), config["episodes"])
    ]
    found = [[e.query_class, e.query, list(reversed(e.supports[0]))] for e in drawn]
    yield equal("episodes", found, data["episodes"])


def frame(case: Case) -> Comparisons:
    size, number = case.config["size"], case.config["class_number"]
    labels, support = (
        resize_labels(way_labels(case.tensors[name].numpy(), [number]), size, size)
        for name in ("in.label", "in.support_label")
    )
    yield case.compare("out.mask", labels == 1, EXACT)
    yield case.compare("out.ignore", labels == VOID, EXACT)
    yield case.compare("out.support_mask", support == 1, EXACT)


def _scores(case: Case, protocol: str) -> tuple[float, float]:
    """mIoU and FB-IoU of label maps with all classes, by a protocol's rule for void."""
    t, void = case.tensors, load_segmentation(protocol).void
    first = 5 * case.config["fold"] + 1
    sums, background = np.zeros((2, 5), dtype=np.int64), np.zeros(2, dtype=np.int64)
    for number, labels, found in zip(t["in.class_id"].tolist(), t["in.label"], t["in.pred"], strict=True):
        truth: Tensor = torch.from_numpy(way_labels(labels.numpy().astype(np.uint8), [number + 1]))
        counts = count(found, truth, 1).numpy()
        sums[:, number + 1 - first] += intersection_union(counts[1], void)
        background += background_intersection_union(counts[0], void)
    score = fb_iou(*sums, (background[0], background[1]))
    return float(mean_iou(*sums)), float(score)


def _metric(protocol: str, tolerance: float) -> Any:
    def check(case: Case) -> Comparisons:
        miou, both = _scores(case, protocol)
        yield case.compare("out.miou", np.array([miou]), absolute(tolerance))
        yield case.compare("out.fb_iou", np.array([both]), absolute(tolerance))

    return check


KINDS = {
    "isaid_episodes": episodes,
    "isaid_episodes_official": official_episodes,
    "isaid_lists": lists,
    "isaid_episodes_sdm": sdm,
    "isaid_episodes_r2net": r2net,
    "isaid_frame": frame,
    "isaid_metric_gfsam": _metric("isaid", 1e-3),
    "isaid_metric_sdm": _metric("isaid_sdm", 1e-8),
    "isaid_metric_r2net": _metric("isaid_r2net", 1e-8),
}
