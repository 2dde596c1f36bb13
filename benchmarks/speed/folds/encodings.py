"""Count the images that a full evaluation encodes: as the authors' programs do, and with the suite's order and cache.

    python -m benchmarks.speed.folds.encodings LISTS [--dataset pascal,coco] [--cache-mib 2048] [--write FILE]

LISTS is a folder of official lists (`<dataset>/val/fold<f>`); no image is opened. The cache is the real one, with empty
tensors of the real sizes in it. Each method has its own protocol, way 1; counts are sums over the four folds.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

from benchmarks.speed.folds.official_fold import OfficialFold
from benchmarks.speed.folds.results import keep_rows
from fsbench.backbones.base import BackboneConfig
from fsbench.config.compose import shipped_settings
from fsbench.episodes.episode import Episode
from fsbench.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.tensor_cache import FeatureCache

FLOAT = 4
SIZES = {
    "prototype": {"tokens": 2500 * 384 * FLOAT},
    "emat": {"query": 72 * 2500 * 64 * FLOAT, "support": 72 * 401 * 64 * FLOAT},
    "dcama": {"pyramid": (128 * 96**2 + 2 * 256 * 48**2 + 18 * 512 * 24**2 + 2 * 1024 * 12**2) * FLOAT},
    "hsnet": {"pyramid": (4 * 512 * 50**2 + 6 * 1024 * 25**2 + 3 * 2048 * 13**2) * FLOAT},
}
"""Bytes of the features of an image by kind, at the papers' sizes: DINOv2 ViT-S/14 at 700, Swin-B at 384, ResNet-50 at
400 pixels."""
PROTOCOL = {"prototype": "fscs", "emat": "fscs", "dcama": "hsnet", "hsnet": "hsnet"}
COLUMNS = [
    "four folds", "method", "distinct images", "authors' scheme", "manifest's order, used last kept", "suite", "fewer",
    "kept at most",
]  # fmt: skip


def encodings(
    episodes: Sequence[Episode], sizes: Mapping[str, int], features: FeatureCache, foresight: bool = True
) -> tuple[int, int]:
    """Count the images that are encoded when episodes are evaluated in this order and features are kept while they fit.

    Args:
        episodes: in the order of evaluation.
        sizes: bytes of the features of an image: of "query" and "support", of which the second come with the first, or
            of a single kind.
        features: an empty cache.
        foresight: tell the cache when each image comes next, as an evaluation does.

    Returns:
        The number of encoded images, and the most bytes that were kept between two episodes.
    """
    encoded, most = 0, 0
    query_kind, support_kind = ("query", "support") if "query" in sizes else (next(iter(sizes)),) * 2

    def empty(kind: str) -> torch.Tensor:
        return torch.empty(sizes[kind] // FLOAT, device="meta")

    def encode(name: str, kind: str) -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        if kind != support_kind:
            features.get(support_kind, name, lambda: empty(support_kind))
        return empty(kind)

    for episode, uses in zip(episodes, next_uses(episodes), strict=True):
        supports = dict.fromkeys(name for way in episode.supports for name in way)
        for name, kind in [(episode.query, query_kind), *((name, support_kind) for name in supports)]:
            features.get(kind, name, lambda name=name, kind=kind: encode(name, kind))  # type: ignore[misc]
        for name, place in uses.items() if foresight else ():
            features.expect(name, place)
        most = max(most, features.bytes)
    return encoded, most


@cache
def official_episodes(lists: str, dataset: str, fold: int, protocol: str, shot: int) -> list[Episode]:
    """Return the official 1-way test episodes of a fold."""
    return OfficialFold(lists, dataset, fold).episodes(protocol, 1, shot)


def usual_cache_mib(method: str, dataset: str) -> int:
    """Return the bound in MiB on the features that a method keeps unless the user says otherwise."""
    backbone = shipped_settings(method, dataset)["model"]["init_args"]["backbone"]
    return int(backbone.get("cache_mib", BackboneConfig().cache_mib))


def row(lists: str, dataset: str, method: str, shot: int, cache_mib: int) -> list[str]:
    """Return the cells of a 1-way task, summed over the folds."""
    sums, largest = [0, 0, 0, 0], 0
    for fold in range(4):
        episodes = official_episodes(lists, dataset, fold, PROTOCOL[method], shot)
        names = {name for e in episodes for name in (e.query, *(s for way in e.supports for s in way))}
        plain = sum(len(way) * 2 for e in episodes for way in e.supports)
        kept, ours = (FeatureCache(cache_mib * 2**20) for _ in range(2))
        in_turn, _ = encodings(episodes, SIZES[method], kept, foresight=False)
        suite, most = encodings(evaluation_order(episodes), SIZES[method], ours)
        largest = max(largest, most)
        sums = [total + new for total, new in zip(sums, (len(names), plain, in_turn, suite), strict=True)]
    task = f"{dataset}, 1-way {shot}-shot"
    return [task, method, *map(str, sums), f"{sums[1] / sums[3]:.2f}x", f"{largest / 2**20:.0f} MiB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists")
    parser.add_argument("--dataset", default="pascal,coco")
    parser.add_argument("--method", default=",".join(SIZES))
    parser.add_argument("--shot", default="1,5")
    parser.add_argument("--cache-mib", type=int, help="bound on kept features instead of each method's own")
    parser.add_argument("--write", type=Path, help="file of results that the rows are kept in")
    options = parser.parse_args()
    print("  ".join(COLUMNS))
    for dataset in options.dataset.split(","):
        for shot in map(int, options.shot.split(",")):
            for method in options.method.split(","):
                cache_mib = options.cache_mib or usual_cache_mib(method, dataset)
                cells = row(options.lists, dataset, method, shot, cache_mib)
                print("  ".join(cells), flush=True)
                if options.write:
                    keep_rows(options.write, "fold-encodings", COLUMNS, [cells])


if __name__ == "__main__":
    main()
