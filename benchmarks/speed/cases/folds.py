"""Evaluations of official folds, beside the scheme of the authors' programs.

Those encode K·(N+1) images an episode, one at a time, in the manifest's order, and keep none. The suite encodes each
image of an episode once, keeps features in a bounded cache until their last use, and orders the episodes so that equal
images meet. Both decode every image anew and have the suite's loader, metric and heads.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from unittest.mock import patch

import torch

from benchmarks.speed.cases.loading import BLOCK
from benchmarks.speed.harness import Case
from benchmarks.speed.official_fold import OfficialFold
from fsbench.config.build import compose_method
from fsbench.core.evaluation import evaluate_batch
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.episodes.episode import Episode
from fsbench.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.metrics.episodic import SegmentationResult
from fsbench.protocols.loading import LoadingConfig, load_episode
from fsbench.protocols.segmentation import Segmentation, load_segmentation
from fsbench.tensor_cache import FeatureCache

T = TypeVar("T")


def count_encodings(episodes: Sequence[Episode], sizes: Mapping[str, int], cache_bytes: int) -> int:
    """Count the images that are encoded when episodes are evaluated in this order with the real cache.

    Args:
        episodes: in the order of evaluation.
        sizes: bytes of the features of an image: of "query" and "support", of which the second come with the first, or
            of a single kind.
        cache_bytes: that the cache holds.
    """
    features, encoded = FeatureCache(cache_bytes), 0
    query_kind, support_kind = ("query", "support") if "query" in sizes else (next(iter(sizes)),) * 2

    def empty(kind: str) -> torch.Tensor:
        return torch.empty(sizes[kind], dtype=torch.uint8, device="meta")

    def encode(name: str, kind: str) -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        if kind != support_kind:
            features.get(support_kind, name, lambda: empty(support_kind))
        return empty(kind)

    for episode, uses in zip(episodes, next_uses(episodes), strict=True):
        supports = dict.fromkeys(name for way in episode.supports for name in way)
        for name, kind in [(episode.query, query_kind), *((name, support_kind) for name in supports)]:
            features.get(kind, name, partial(encode, name, kind))
        for name, place in uses.items():
            features.expect(name, place)
    return encoded


class Evaluation:
    """Both ways of evaluating episodes with a method.

    Args:
        method: in evaluation mode.
        protocol: how answers are counted.
        index: the fold.
        config: how its images are loaded.
        episodes: in the manifest's order.
        cache_bytes: bound on kept features.
    """

    def __init__(
        self,
        method: Segmenter,
        protocol: Segmentation,
        index: OfficialFold,
        config: LoadingConfig,
        episodes: Sequence[Episode],
        cache_bytes: int,
    ):
        self.method, self.protocol, self.index, self.config = method, protocol, index, config
        self.episodes, self.cache_bytes = list(episodes), cache_bytes
        self.ordered = evaluation_order(episodes)
        self.uses = next_uses(self.ordered)

    def forget(self) -> None:
        """Keep no features of earlier episodes."""
        self.method.backbone.cache = FeatureCache(self.cache_bytes)

    def load(self, episode: Episode) -> EpisodeBatch:
        """Return an episode on the method's device."""
        return load_episode(self.index, episode, self.config).to(self.method.device)

    def evaluate(self, batch: EpisodeBatch) -> SegmentationResult:
        """Evaluate one episode."""
        result: SegmentationResult = evaluate_batch(self.method, self.protocol, batch)[0]
        return result

    def authors(self, turn: int) -> dict[int, SegmentationResult]:
        """Evaluate a block of episodes with K·(N+1) images of each encoded and none kept; return results by episode."""
        return {episode.index: self.evaluate_plainly(episode) for episode in _block(self.episodes, turn)}

    @torch.inference_mode()
    def evaluate_plainly(self, episode: Episode) -> SegmentationResult:
        """Evaluate an episode in the authors' scheme."""
        backbone, batch = self.method.backbone, self.load(episode)
        with (
            patch.object(backbone, "cache", FeatureCache(0)),
            patch.object(backbone, "encode", wraps=backbone.encode) as encode,
        ):
            result = self.evaluate(batch)
            ways, shots = batch.support.shape[1:]
            while encode.call_count < shots * (ways + 1):  # the query once for every shot
                backbone.encode(batch.pixels(int(batch.query[0])))
        return result

    @torch.inference_mode()
    def suite(self, turn: int) -> dict[int, SegmentationResult]:
        """Evaluate a block of episodes as a run does; return results by episode."""
        if turn == 0:
            self.forget()
        results = {}
        for episode, uses in zip(_block(self.ordered, turn), _block(self.uses, turn), strict=True):
            results[episode.index] = self.evaluate(self.load(episode))
            for name, place in uses.items():
                self.method.backbone.cache.expect(name, place)
        return results

    def check(self) -> float:
        """Return 0 where both ways count the same pixels in the first block; else AssertionError."""
        for index, result in self.suite(0).items():
            (episode,) = (one for one in self.episodes if one.index == index)
            assert torch.equal(result.counts, self.evaluate_plainly(episode).counts), f"episode {index}"
        return 0.0


def _block(listed: Sequence[T], turn: int) -> Sequence[T]:
    """Return the part of a list that belongs to a turn.

    Raises:
        SystemExit: there are not so many.
    """
    if len(listed) < (turn + 1) * BLOCK:
        raise SystemExit(f"{len(listed)} episodes are too few; expected {BLOCK} for every turn: give --episodes")
    return listed[turn * BLOCK : (turn + 1) * BLOCK]


def cases(
    device: torch.device,
    lists: str | None = None,
    dataset: str = "pascal,coco",
    method: str = "prototype,emat,dcama,hsnet",
    shots: tuple[int, ...] = (1, 5),
    fold: int = 0,
    episodes: int = 30,
    images: str | None = None,
    backbone: str | None = None,
    size: int = 0,
    cache_mib: int = 0,
) -> Iterator[Case]:
    """Compare the first --episodes of a fold in the suite's order, 1-way, each method under its own protocol, weights
    random.

    --lists is a folder of official lists (`<dataset>/val/fold<f>`), or those of $FSBENCH_TEST_DATA. Images that are not
    in --images are drawn, 500x375 or 640x480 pixels, under the official names. The number of images that the whole fold
    needs encoded is exact: it is counted with the real cache. --size and --cache-mib replace each method's own.
    """
    samples = os.environ.get("FSBENCH_TEST_DATA")
    if lists is None and samples is None:
        raise SystemExit("give --lists, a folder of official lists (<dataset>/val/fold<f>), or set FSBENCH_TEST_DATA")
    lists = lists or f"{samples}/official-lists/hsnet"
    with TemporaryDirectory() as drawn:
        for data_name, shot, name in product(dataset.split(","), shots, method.split(",")):
            index = OfficialFold(lists, data_name, fold, Path(drawn), Path(images) if images else None)
            composed = compose_method(name, data_name, backbone, "random")
            data = composed.config.data.init_args
            side, protocol = size or data.image_size, load_segmentation(data.protocol)
            network: Segmenter = composed.build_method().to(device).eval()
            network.check_image_size(side)
            listed = index.episodes(data.protocol, 1, shot)
            config = LoadingConfig(side, protocol.geometry)
            bound = cache_mib * 2**20 or network.backbone.cache.max_bytes
            ordered = evaluation_order(listed)
            first = sorted(ordered[:episodes], key=lambda episode: episode.index)
            evaluation = Evaluation(network, protocol, index, config, first, bound)
            with torch.inference_mode():
                evaluation.evaluate(evaluation.load(listed[0]))  # says how large features are
            encoded = count_encodings(ordered, network.backbone.cache.entry_bytes(), bound)
            evaluation.forget()
            yield Case(
                f"{data_name} fold {fold}, 1-way {shot}-shot, {name}, {side} pixels, an episode; of the whole fold "
                f"{2 * shot * len(listed)} -> {encoded} images encoded",
                {"authors' scheme": evaluation.authors, "suite": evaluation.suite},
                evaluation.check,
                units=BLOCK,
                memory="call" if device.type == "cuda" else "child",
                takes_turn=True,
            )
