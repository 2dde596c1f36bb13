"""Compare the evaluation of a whole official fold by the suite with the scheme of the authors' programs.

    python -m benchmarks.speed.evaluation LISTS [--method prototype,emat,dcama,hsnet] [--dataset pascal,coco]
        [--shot 1,5] [--fold 0] [--episodes 1000 | --pairs 3] [--images FOLDER] [--image-size S] [--backbone NAME]
        [--heads suite|reference] [--cache-mib 2048] [--device cpu] [--write FILE]

The authors' programs encode K·(N+1) images an episode, one at a time, in the manifest's order, and keep none. The suite
encodes each image of an episode once, keeps features in a bounded cache until their last use, and orders the episodes
so that equal images meet. Both decode every image anew and have the suite's loader, metric and, unless `--heads
reference` gives the authors' side the plain attention of EMAT and DCAMA and HSNet's plain formulas, heads. They take
turns, episode by episode, in one process, in processor seconds of all threads (on a GPU: on the clock). With equal
heads, their counts of pixels must be equal.

`--episodes N` evaluates the first N of the fold. `--pairs P` instead measures P episodes of the first data set with
nothing and with everything kept, which gives the seconds of an image and of the rest of an episode, and multiplies them
by the exact number of images of every whole fold: for machines on which a fold takes a day. The parts measured on the
first data set stand for the others, too, so files of other sizes cost there what the first one's do. This gives a lower
bound of the suite's time: the authors' side pays for what is derived of the features of each image, the suite's side,
measured with everything kept, does not pay for it where an image is newly encoded.

LISTS is a folder of official lists (`<dataset>/val/fold<f>`). Images that are not in `--images` are drawn, 500x375 or
640x480 pixels, under the official names. Weights are random. Way 1, each method under its own protocol.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.speed.cases.hsnet import plain_formulas
from benchmarks.speed.folds.encodings import encodings, usual_cache_mib
from benchmarks.speed.folds.official_fold import OfficialFold
from benchmarks.speed.folds.results import keep_rows
from benchmarks.speed.harness import device_name
from datamodules.loading.episodes import LoadingConfig, load_episode
from fsbench.config.build import compose_method
from fsbench.core.segmenter import Segmenter
from fsbench.data.batch import EpisodeBatch
from fsbench.engine.machine.meter import Meter
from fsbench.episodes.episode import Episode
from fsbench.episodes.evaluation_order import evaluation_order, next_uses
from fsbench.metrics.episodic import SegmentationResult
from fsbench.protocols.segmentation import load_segmentation
from fsbench.tensor_cache import FeatureCache

PLAIN_PATHS = ("FSBENCH_ATTENTION", "FSBENCH_MASK_ATTENTION")
"""Variables that choose the attention of EMAT and of DCAMA."""
PLAIN = {"emat": "attention", "dcama": "attention", "hsnet": "formulas"}
"""The plain part of a method by `--heads reference`."""
COLUMNS = ["fold", "method", "measured", "images encoded", "seconds an episode", "ratio", "peak memory"]


@dataclass
class Spent:
    """Cost of one way of evaluating.

    Attributes:
        seconds: in all.
        encoded: images.
        encoding: seconds of encoding them.
        peak_mib: largest resident memory, or memory allocated on the GPU, without features that only the other keeps.
        counts: pixels by episode.
    """

    seconds: float = 0.0
    encoded: int = 0
    encoding: float = 0.0
    peak_mib: float = 0.0
    counts: dict[int, torch.Tensor] = field(default_factory=dict)


class Evaluation:
    """A method, the loader of its episodes, and both ways of evaluating one.

    Args:
        method: with a cache of features.
        load: from an episode to a batch of one.
        device: where the method is.
        plain_heads: give the authors' side the reference paths of attention and HSNet's formulas.
    """

    def __init__(
        self, method: Segmenter, load: Callable[[Episode], EpisodeBatch], device: torch.device, plain_heads: bool
    ):
        self.method, self.load, self.device, self.plain_heads = method, load, device, plain_heads
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.images, self.encoding = 0, 0.0
        self.encode = method.backbone.encode
        method.backbone.encode = self._counted  # type: ignore[method-assign]

    def _counted(self, pixels: torch.Tensor) -> Any:
        started = self.clock()
        features = self.encode(pixels)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.images += 1
        self.encoding += self.clock() - started
        return features

    def authors(self, episode: Episode) -> SegmentationResult:
        """Evaluate an episode with K·(N+1) images encoded and none kept."""
        backbone = self.method.backbone
        kept, backbone.cache = backbone.cache, FeatureCache(0)
        before = self.images
        if self.plain_heads:
            os.environ |= dict.fromkeys(PLAIN_PATHS, "reference")
        try:
            batch = self.load(episode).to(self.device)
            with plain_formulas() if self.plain_heads else nullcontext():  # HSNet's
                result = self.method.evaluate(batch)
            ways, shots = batch.support.shape[1:]
            while self.images - before < shots * (ways + 1):  # the query once for every shot
                backbone.encode(batch.pixels(int(batch.query[0])))
            return result
        finally:
            backbone.cache = kept
            for name in PLAIN_PATHS if self.plain_heads else ():
                del os.environ[name]

    def suite(self, episode: Episode) -> SegmentationResult:
        """Evaluate an episode with the features that are kept."""
        return self.method.evaluate(self.load(episode).to(self.device))

    def spend(self, spent: Spent, evaluate: Callable[[Episode], SegmentationResult], episode: Episode) -> None:
        """Evaluate an episode and add its cost."""
        images, encoding, meter, started = self.images, self.encoding, Meter(self.device), self.clock()
        with torch.inference_mode():
            result = evaluate(episode)
        spent.counts[episode.index] = result.counts  # on the CPU: the device has finished
        spent.seconds += self.clock() - started
        spent.encoded += self.images - images
        spent.encoding += self.encoding - encoding
        others = self.method.backbone.cache.bytes / 2**20 if evaluate == self.authors else 0.0
        spent.peak_mib = max(spent.peak_mib, meter.peak_mib - others)


def whole(evaluation: Evaluation, episodes: Sequence[Episode]) -> tuple[Spent, Spent]:
    """Evaluate the episodes in both ways, in turns; return the costs of the authors' scheme and of the suite."""
    authors, suite = Spent(), Spent()
    ordered = evaluation_order(episodes)
    for theirs, ours, uses in zip(episodes, ordered, next_uses(ordered), strict=True):
        evaluation.spend(authors, evaluation.authors, theirs)
        evaluation.spend(suite, evaluation.suite, ours)
        for name, place in uses.items():
            evaluation.method.backbone.cache.expect(name, place)
    if not evaluation.plain_heads:
        check_equal(authors, suite)
    return authors, suite


@dataclass(frozen=True)
class Units:
    """Cost of the parts of an evaluation.

    Attributes:
        dataset: that they were measured on.
        image: seconds of encoding one image.
        rest: seconds of all else of an episode, in the authors' scheme and in the suite.
        peak_mib: largest memory, with the features of the measured episodes alone.
        entry_bytes: features of an image, by kind.
    """

    dataset: str
    image: float
    rest: tuple[float, float]
    peak_mib: float
    entry_bytes: dict[str, int]


def units(evaluation: Evaluation, dataset: str, episodes: Sequence[Episode], pairs: int) -> Units:
    """Measure some of the data set's episodes in both ways: nothing kept, and everything kept.

    Raises:
        SystemExit: the two ways give different counts.
    """
    authors, cached = Spent(), Spent()
    for episode in episodes[:: max(len(episodes) // pairs, 1)][:pairs]:
        with torch.inference_mode():
            evaluation.suite(episode)  # keeps all features
        evaluation.spend(authors, evaluation.authors, episode)
        evaluation.spend(cached, evaluation.suite, episode)
    if not evaluation.plain_heads:
        check_equal(authors, cached)
    rest = (authors.seconds - authors.encoding) / len(authors.counts), cached.seconds / len(cached.counts)
    kinds = evaluation.method.backbone.cache.entry_bytes()
    return Units(dataset, authors.encoding / authors.encoded, rest, authors.peak_mib, kinds)


def projected(parts: Units, episodes: Sequence[Episode], cache_mib: int) -> tuple[Spent, Spent]:
    """Return the costs of the authors' scheme and of the suite that follow from those of the parts."""
    plain = sum(2 * len(way) for episode in episodes for way in episode.supports)
    encoded, most = encodings(evaluation_order(episodes), parts.entry_bytes, FeatureCache(cache_mib * 2**20))
    theirs, ours = (seconds * len(episodes) for seconds in parts.rest)
    return (
        Spent(theirs + plain * parts.image, plain, plain * parts.image, parts.peak_mib),
        Spent(ours + encoded * parts.image, encoded, encoded * parts.image, parts.peak_mib + most / 2**20),
    )


def check_equal(authors: Spent, suite: Spent) -> None:
    """Raise SystemExit where counts of pixels differ."""
    assert authors.counts.keys() == suite.counts.keys()
    wrong = [i for i, counts in authors.counts.items() if not torch.equal(counts, suite.counts[i])]
    if wrong:
        raise SystemExit(f"the counts of the episodes {wrong} differ between both ways; expected equal ones")


def row(
    options: argparse.Namespace, index: OfficialFold, name: str, shot: int, measured: dict[tuple[str, int], Units]
) -> list[str]:
    """Evaluate a method on a data set in both ways; return the cells of a row.

    Args:
        options: of the command line.
        index: the fold.
        name: of the method.
        shot: K.
        measured: costs of parts that were measured on another data set, by method and shots; new ones are added.
    """
    plain_heads = options.heads == "reference" and name in PLAIN
    cache_mib = options.cache_mib or usual_cache_mib(name, index.name)
    composed = compose_method(name, index.name, options.backbone, "random")
    data = composed.config.data.init_args
    size, protocol = options.image_size or data.image_size, load_segmentation(data.protocol)
    episodes = index.episodes(data.protocol, 1, shot)[: options.episodes]
    if (name, shot) not in measured:
        method = composed.build_method().to(options.device).eval()
        method.check_image_size(size)
        method.backbone.cache = FeatureCache(cache_mib * 2**20)
        method.backbone.network(torch.zeros(3, size, size, device=options.device))  # builds it for the image size
        config = LoadingConfig(size, protocol.geometry)
        evaluation = Evaluation(method, partial(load_episode, index, config=config), options.device, plain_heads)
    if options.pairs:
        if (name, shot) not in measured:
            measured[name, shot] = units(evaluation, index.name, episodes, options.pairs)
        parts = measured[name, shot]
        authors, suite = projected(parts, episodes, cache_mib)
        pairs = f"{options.pairs} pair{'s' * (options.pairs > 1)}"
        how = f"units measured on {parts.dataset}, {pairs}, times the images of {len(episodes)} episodes"
    else:
        authors, suite = whole(evaluation, episodes)
        how = f"{len(episodes)} episodes"
    return [
        f"{index.name} fold {index.fold}, 1-way {shot}-shot",
        f"{name}, plain {PLAIN[name]}" if plain_heads else name,
        f"{size} px; {how}",
        f"{authors.encoded} -> {suite.encoded}",
        f"{authors.seconds / len(episodes):.3f} -> {suite.seconds / len(episodes):.3f}",
        f"{authors.seconds / suite.seconds:.2f}x",
        "" if plain_heads else f"{authors.peak_mib:.0f} -> {suite.peak_mib:.0f} MiB",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lists")
    parser.add_argument("--method", default="prototype,emat,dcama,hsnet")
    parser.add_argument("--dataset", default="pascal,coco")
    parser.add_argument("--shot", default="1,5")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=1000, help="the first of the fold's 1000")
    parser.add_argument("--pairs", type=int, help="measure so many episodes, and multiply by the fold's images")
    parser.add_argument("--cache-mib", type=int, help="bound on kept features instead of each method's own")
    parser.add_argument("--images", type=Path, help="folder of images at hand, under the names of the lists")
    parser.add_argument("--heads", choices=["suite", "reference"], default="suite", help="of the authors' side")
    parser.add_argument("--backbone")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    parser.add_argument("--write", type=Path, help="file of results that the rows are kept in")
    options = parser.parse_args()
    print(f"{device_name(options.device)}; random weights\n{'  '.join(COLUMNS)}", flush=True)
    with TemporaryDirectory() as drawn:
        tasks = product(options.dataset.split(","), map(int, options.shot.split(",")), options.method.split(","))
        measured: dict[tuple[str, int], Units] = {}
        for dataset, shot, name in tasks:
            index = OfficialFold(options.lists, dataset, options.fold, Path(drawn), options.images)
            cells = row(options, index, name, shot, measured)
            print("  ".join(cells), flush=True)
            if options.write:
                keep_rows(options.write, "whole-folds", COLUMNS, [cells])


if __name__ == "__main__":
    main()
