"""Count the images that a full evaluation encodes: the plain way, and with the suite's order and cache.

    python -m benchmarks.speed.encodings LISTS [--dataset pascal] [--cache-mib 6144]

LISTS is a folder of official lists (`<dataset>/val/fold<f>`); no image is opened. The backbone's 221 GFLOP an image and
EMAT's 41 a way (emat.md §8) turn the counts into arithmetic saved. The cache is the real one, with empty tensors of the
real sizes in it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from datamodules.lists.official import read_official
from fsbench.backbones.base import BackboneConfig
from fsbench.backbones.vit import VITS
from fsbench.data.dataset import PairList, Part, SegmentationIndex
from fsbench.episodes.draw import draw_manifest
from fsbench.episodes.evaluation_order import evaluation_order
from fsbench.episodes.lists import pair_list
from fsbench.episodes.protocol import load_protocol
from fsbench.episodes.samplers import Episode
from fsbench.episodes.task import EpisodeTask
from fsbench.tensor_cache import FeatureCache

BACKBONE_GFLOP, LEARNER_GFLOP = 221, 41
QUERY, SUPPORT = (72, 2500, 64), (72, 401, 64)  # features of EMAT at 700 pixels


class ListsOnly(SegmentationIndex):
    """Index of the official lists alone, without files."""

    class_names = tuple(map(str, range(1, 81)))
    folds = 4
    augment_threshold = 0.0

    def __init__(self, folder: str, dataset: str):
        self.folder = folder
        self.name = dataset
        self.query_sampling = "sequential" if dataset == "pascal" else "class_first"

    def test_classes(self, fold: int) -> list[int]:
        return sorted(pair_list(self, "val", fold).images_of)

    def released_pairs(self, split: str, fold: int) -> PairList | None:
        return read_official([self.folder], self.name, split, fold)

    def candidates(self, part: Part) -> Sequence[str]:
        raise AssertionError("all lists are official")

    def image_path(self, name: str) -> Path:
        raise AssertionError("no image is opened")

    def label_map(self, name: str) -> np.ndarray:
        raise AssertionError("no label map is opened")


def encodings(episodes: list[Episode], cache: FeatureCache) -> int:
    """Count the images encoded when episodes of one query follow each other and features are kept while they fit."""
    encoded = 0

    def query(name: str) -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        cache.get("support", name, lambda: torch.empty(SUPPORT, device="meta"))
        return torch.empty(QUERY, device="meta")

    def support() -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        return torch.empty(SUPPORT, device="meta")

    for e in evaluation_order(episodes):
        cache.get("query", e.query, lambda name=e.query: query(name))  # type: ignore[misc]
        for name in dict.fromkeys(name for way in e.supports for name in way):
            cache.get("support", name, support)
    return encoded


def rows(index: ListsOnly, cache_mib: int) -> Iterator[str]:
    """Yield the lines of the table."""
    for way, shot in ((1, 1), (2, 1), (1, 5), (2, 5)):
        for fold in range(4):
            manifest = draw_manifest(index, load_protocol("fscs"), EpisodeTask(fold, way, shot))
            count = len(manifest.episodes)
            plain = count * shot * (way + 1)
            alone = sum(1 + len({n for w in e.supports for n in w}) for e in manifest.episodes)
            ours = encodings(list(manifest.episodes), FeatureCache(cache_mib * 2**20))
            learner = count * way * shot * LEARNER_GFLOP
            saved = (plain * BACKBONE_GFLOP + learner) / (ours * BACKBONE_GFLOP + learner)
            distinct = len({n for e in manifest.episodes for n in (e.query, *(s for w in e.supports for s in w))})
            yield f"{way}-way {shot}-shot  {fold:4}  {distinct:8}  {plain:6}  {alone:8}  {ours:6}  {saved:6.1f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists")
    parser.add_argument("--dataset", default="pascal", choices=["pascal", "coco"])
    parser.add_argument("--cache-mib", type=int, default=BackboneConfig().cache_mib)
    options = parser.parse_args()
    assert VITS["dinov2_vits14"].arguments["depth"] * VITS["dinov2_vits14"].arguments["num_heads"] == QUERY[0]
    print(f"{options.dataset}, official lists, 1000 episodes a fold, cache {options.cache_mib} MiB")
    print("task          fold  distinct   plain  once/ep.   suite  arithmetic saved")
    for row in rows(ListsOnly(options.lists, options.dataset), options.cache_mib):
        print(row)


if __name__ == "__main__":
    main()
