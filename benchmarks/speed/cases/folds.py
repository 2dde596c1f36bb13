"""Evaluations of official folds, beside the scheme of the authors' programs.

Those encode K·(N+1) images an episode, one at a time, in the manifest's order, and keep none. Where the suite has a
fast path, they compute by its plain form (`AUTHORS` in `plain_forms.py`). The suite encodes each image of an episode
once, keeps features in a bounded cache until their last use, and orders the episodes so that equal images meet. Both
decode every image anew, and have the same weights, and the suite's loader and metric.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.speed.cases.methods import built_method, method_settings
from benchmarks.speed.cases.plain_forms import AUTHORS
from benchmarks.speed.harness import Case, sample_folder
from benchmarks.speed.official_fold import OfficialFold
from fsbench.base.tensor_cache import FeatureCache
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.datamodules.loading.items import LoadingConfig, load_episode
from fsbench.protocols.reading import load_segmentation
from fsbench.runner.engine.answering import evaluate_batch
from fsbench.scores.answers import SegmentationResult

T = TypeVar("T")

BLOCK = 5
"""Episodes that each way evaluates before it is the other's turn."""


def count_encodings(
    episodes: Sequence[Episode], sizes: Mapping[str, int], cache_bytes: int, expects: bool = True
) -> int:
    """Count the images that are encoded when episodes are evaluated in this order with the real cache.

    Args:
        episodes: in the order of evaluation.
        sizes: bytes of the biggest entry of each kind: of "query" and "support", of which the second come with the
            first; of "features" and "objects", for supports whose background is black; or of the features of either
            role. With "states" also those of a support's state, for which its image is encoded once.
        cache_bytes: that the cache holds.
        expects: tell the cache when an image comes again; without it, what was used longest ago makes room.
    """
    features, encoded = FeatureCache(cache_bytes), 0
    query_kind = next(kind for kind in ("query", "features", *sizes) if kind in sizes)
    support_kind = next(kind for kind in ("support", "objects", query_kind) if kind in sizes)

    def empty(kind: str) -> torch.Tensor:
        return torch.empty(sizes[kind], dtype=torch.uint8, device="meta")

    def encode(key: Hashable, kind: str) -> torch.Tensor:
        nonlocal encoded
        encoded += 1
        if kind == "query":
            features.get("support", key, partial(empty, "support"))
        return empty(kind)

    def find(key: Hashable, kind: str) -> None:
        features.get(kind, key, partial(encode, key, kind))

    def look(key: Hashable) -> torch.Tensor:
        find(key, support_kind)
        return empty("states")

    for episode, uses in zip(episodes, next_uses(episodes), strict=True):
        find(episode.query, query_kind)
        for way, number in zip(episode.supports, episode.classes, strict=True):
            for name in way:
                key = (name, number) if support_kind == "objects" else name
                if "states" in sizes:
                    features.get("states", (name, number), partial(look, key))
                else:
                    find(key, support_kind)
        for name, place in uses.items() if expects else ():
            features.expect(name, place)
    return encoded


class Evaluation:
    """Both ways of evaluating the first 1-way episodes of a fold, in the suite's order, under HSNet's protocol.

    Args:
        name: of the method.
        method: in evaluation mode.
        data: the fold.
        side: of the images, in pixels.
        shots: K.
        count: how many episodes are evaluated.
    """

    def __init__(self, name: str, method: Segmenter, data: OfficialFold, side: int, shots: int, count: int):
        self.plainly: Callable[[], AbstractContextManager[Any]] = AUTHORS.get(name.removesuffix("_5shot"), nullcontext)
        self.method, self.protocol = method, load_segmentation("hsnet")
        self.load = partial(load_episode, data, config=LoadingConfig(side, self.protocol.view))
        self.fold = data.episodes("hsnet", 1, shots)
        self.episodes = sorted(evaluation_order(self.fold)[:count], key=lambda episode: episode.number)
        self.ordered = evaluation_order(self.episodes)
        self.uses = next_uses(self.ordered)

    def encodings(self) -> tuple[int, int]:
        """Count the images that the suite encodes for the whole fold, and those that it would by last use alone."""
        self.evaluate(self.load(self.fold[0]))  # says how large features are
        cache, ordered = self.method.backbone.cache, evaluation_order(self.fold)
        sizes = cache.entry_bytes()
        return (
            count_encodings(ordered, sizes, cache.max_bytes),
            count_encodings(ordered, sizes, cache.max_bytes, expects=False),
        )

    @torch.inference_mode()
    def evaluate(self, batch: EpisodeBatch) -> SegmentationResult:
        """Evaluate one episode."""
        result: SegmentationResult = evaluate_batch(self.method, self.protocol, batch.to(self.method.device))[0]
        return result

    def authors(self, turn: int) -> None:
        """Evaluate a block of episodes with K·(N+1) images of each encoded and none kept."""
        for episode in _block(self.episodes, turn):
            self.evaluate_plainly(episode)

    @torch.inference_mode()
    def evaluate_plainly(self, episode: Episode) -> SegmentationResult:
        """Evaluate an episode in the authors' scheme."""
        backbone, batch = self.method.backbone, self.load(episode)
        with (
            patch.object(backbone, "cache", FeatureCache(0)),
            patch.object(backbone, "encode", wraps=backbone.encode) as encode,
            self.plainly(),
        ):
            result = self.evaluate(batch)
            ways, shots = batch.support.shape[1:]
            while encode.call_count < shots * (ways + 1):  # the query once for every shot
                backbone.encode(batch.pixels(int(batch.query[0])).to(self.method.device))
        return result

    def suite(self, turn: int) -> list[SegmentationResult]:
        """Evaluate a block of episodes as a run does; return its results."""
        if turn == 0:
            self.method.backbone.cache.clear()
        results = []
        for episode, uses in zip(_block(self.ordered, turn), _block(self.uses, turn), strict=True):
            batch = self.load(episode)
            keys = dict(zip(batch.image_names, batch.image_keys, strict=True))
            results.append(self.evaluate(batch))
            for name, place in uses.items():
                self.method.backbone.cache.expect(keys[name], place)
        return results

    def check(self) -> float:
        """Return the largest share of an image's pixels that the ways count differently, in the first block."""
        pairs = [
            (result.counts, self.evaluate_plainly(episode).counts)
            for episode, result in zip(self.ordered, self.suite(0), strict=False)
        ]
        return max(float(np.abs(ours - theirs).max() / theirs.max()) for ours, theirs in pairs)


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
    dataset: str = "pascal",
    methods: str = "hsnet,dcama,cst,emat,pfenet,bam,hmnet",
    shots: int = 1,
    episodes: int = 20,
    size: int = 0,
) -> Iterator[Case]:
    """Compare the first --episodes of fold 0 in the suite's order, 1-way, under HSNet's protocol.

    --lists is a folder of official lists (`<dataset>/val/fold<f>`), or those of $FSBENCH_TEST_DATA. Images are drawn,
    500x375 or 640x480 pixels, under the official names; weights are random. --size replaces the method's own.
    """
    lists = sample_folder(lists, "--lists, a folder of official lists (<dataset>/val/fold<f>)", "official-lists/hsnet")
    with TemporaryDirectory() as drawn:
        data = OfficialFold(lists, dataset, 0, Path(drawn))
        for name in methods.split(","):
            composed = method_settings(name, dataset)
            side = size or composed.data_arguments["image_size"]
            method = built_method(device, composed).eval()
            evaluation = Evaluation(name, method, data, side, shots, episodes)
            suite, by_last_use = evaluation.encodings()
            encoded = f"{2 * shots * len(evaluation.fold)} -> {suite} images encoded, by last use alone {by_last_use}"
            task = f"{name}, {dataset} fold 0, 1-way {shots}-shot, {side} pixels, an episode"
            what = f"{task}; of the whole fold {encoded}"
            paths = {"authors' scheme": evaluation.authors, "suite": evaluation.suite}
            tolerance = 0.0 if evaluation.plainly is nullcontext else 1e-3
            yield Case(what, paths, evaluation.check, tolerance=tolerance, units=BLOCK, takes_turn=True)
