"""Compare an evaluation by the suite with the plain way of the authors' programs.

    python -m benchmarks.speed.evaluation [--method emat] [--dataset demo] [--way 1] [--shot 1] [--episodes 200]
        [--cache-mib 6144] [further arguments of `fsbench bench`'s configuration, e.g. --model.backbone.weights random]

The plain way encodes the query once per shot and every support each time it appears (K·(N+1) images an episode), in
manifest order, with the loop over samples. The suite encodes each distinct image of an episode once, keeps frozen
features in a bounded cache, and puts episodes of one query next to each other. Both give the same counts.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from benchmarks.speed.measure import device_name
from datamodules.loading.episodes import LoadingConfig, load_episode
from fsbench.config.compose import parse
from fsbench.config.registry import config_files
from fsbench.data.batch import EpisodeBatch
from fsbench.engine.machine.meter import Meter
from fsbench.metrics.episodic import SegmentationResult
from methods.modules.correlation import query_features, support_features
from methods.modules.segmenter import FewShotClassifierSegmenter


def count_encodings(method: FewShotClassifierSegmenter) -> list[int]:
    """Return a list that grows by one entry with each image the backbone encodes from now on."""
    encoded: list[int] = []
    encode = method.backbone.encode

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        encoded.append(1)
        return encode(pixels)

    method.backbone.encode = counted  # type: ignore[method-assign]
    return encoded


def plain_sums(method: FewShotClassifierSegmenter, episode: EpisodeBatch) -> Any:
    """Return the summed probabilities of labels and masks, with every image encoded anew for every shot."""
    heads, side = method.backbone.heads, method.support_side
    label_sums: Any = 0
    mask_sums: Any = 0
    size = (int(episode.query_sizes[0, 0]), int(episode.query_sizes[0, 1]))
    for shot in range(episode.support.shape[2]):
        query = query_features(method.backbone.encode(episode.pixels(int(episode.query[0]))), heads)
        supports = [
            support_features(method.backbone.encode(episode.pixels(int(row))), heads, side, method.class_token)
            for row in episode.support[0, :, shot]
        ]
        masks = episode.support_masks[:, :, shot : shot + 1].transpose(0, 1)[:, 0]
        labels, maps = method.sum_over_shots(query, torch.stack(supports)[:, None], masks, size)
        label_sums, mask_sums = label_sums + (0 if labels is None else labels), mask_sums + maps
    return (label_sums if method.class_token else None), mask_sums


def evaluate(
    method: FewShotClassifierSegmenter, batches: Iterable[EpisodeBatch], device: torch.device
) -> dict[int, SegmentationResult]:
    with torch.inference_mode():
        results = [r for b in batches for r in method.validation_step(b.to(device), 0)["results"]]
    return {result.episode: result for result in results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="emat")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--way", type=int, default=1)
    parser.add_argument("--shot", type=int, default=1)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--cache-mib", type=int, default=6144)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", type=torch.device)
    options, extra = parser.parse_known_args()
    configs = [f"--config={path}" for path in config_files(options.method, options.dataset)]
    task = [f"--data.way={options.way}", f"--data.shot={options.shot}", f"--data.episodes={options.episodes}"]
    cache = f"--model.backbone.cache_mib={options.cache_mib}"
    cli = parse([*configs, *task, cache, "--data.workers=0", *extra])
    method, data = cli.model.to(options.device).eval(), cli.datamodule
    assert isinstance(method, FewShotClassifierSegmenter), "the plain way is that of CST and EMAT"
    encoded = count_encodings(method)
    queries = len({e.query for e in data.manifest.episodes})
    print(
        f"{device_name(options.device)}; {options.method} on {options.dataset}, {options.way}-way {options.shot}-shot, "
        f"{len(data.manifest.episodes)} episodes, {queries} distinct queries, image size {data.image_size}"
    )

    def in_manifest_order() -> Iterator[EpisodeBatch]:
        for episode in data.manifest.episodes:
            yield load_episode(data.dataset, episode, LoadingConfig(data.image_size))

    def plain() -> dict[int, SegmentationResult]:
        os.environ["FSBENCH_ATTENTION"] = "reference"
        ours, forward = method.sum_over_shots, method.forward
        try:
            method.forward = lambda episode: _predict(method, episode)  # type: ignore[method-assign]
            return evaluate(method, in_manifest_order(), options.device)
        finally:
            method.forward, method.sum_over_shots = forward, ours  # type: ignore[method-assign]
            os.environ.pop("FSBENCH_ATTENTION")

    def suite() -> dict[int, SegmentationResult]:
        return evaluate(method, data.test_dataloader(), options.device)

    evaluate(method, [next(in_manifest_order())], options.device)  # builds the backbone for the image size
    method.backbone.cache.clear()
    results = {name: _timed(name, call, encoded, options) for name, call in (("plain", plain), ("suite", suite))}
    same = all(torch.equal(results["plain"][0][i].counts, r.counts) for i, r in results["suite"][0].items())
    ratio = results["plain"][1] / results["suite"][1]
    print(f"suite is {ratio:.1f}x as fast; counts are {'equal' if same else 'NOT equal'}")


def _predict(method: FewShotClassifierSegmenter, episode: EpisodeBatch) -> Any:
    from fsbench.core.prediction import Prediction
    from methods.modules.segmenter import decide

    labels, masks = plain_sums(method, episode)
    decided, label_map = decide(labels, masks)
    return Prediction(label_map, decided, None if labels is None else labels[:, 1] / labels.sum(1))


def _timed(
    name: str, call: Callable[[], dict[int, SegmentationResult]], encoded: list[int], options: argparse.Namespace
) -> tuple[dict[int, SegmentationResult], float]:
    before = len(encoded)
    meter, started = Meter(options.device), time.perf_counter()
    results = call()
    seconds = time.perf_counter() - started
    print(
        f"{name}: {seconds:.1f} s, {len(results) / seconds:.2f} episodes/s, {len(encoded) - before} images encoded, "
        f"peak {meter.peak_mib:.0f} MiB"
    )
    return results, seconds


if __name__ == "__main__":
    main()
