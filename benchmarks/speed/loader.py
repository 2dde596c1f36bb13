"""Compare one loader process of the suite with the plain loader of the authors' programs, in episodes a second.

    python -m benchmarks.speed.loader [--dataset pascal --root FOLDER] [--size 384 473 700] [--episodes 100]
    python -m benchmarks.speed.loader --memory [...]     # resident memory over 10,000 episodes instead

Without --root the small real samples of $FSBENCH_TEST_DATA are read (voc-mini, coco-mini). The plain loader does for
every image of every episode what those programs do: PIL decodes, torchvision resizes, converts and normalises; the mask
is decoded from its PNG or painted from the COCO annotations and resized by torch. Both give the same pixels and labels,
which is checked first. The loaders take turns; seconds are those of the processor, so that other work on the machine
matters less. The paths:

- "none kept" decodes every file anew, as training on a data set of many times the memory does. Images leave the loader
  as 8-bit pixels and are normalised on the device; "none kept, normalised" does that here, for every image.
- "suite" keeps what it decoded, up to --cache-mib, from nothing at the start of each task. The samples fit into that.
- "decoding alone" reads and decodes the same files with the suite's decoders and does nothing else. No loader with
  these pixels can take less where every file is decoded anew: its ratio bounds that of "none kept".

A process resizes its first images with PIL (`fsbench.data.transforms.BY_PIL`); they come before the clock.
docs/benchmarks.md has the figures, which are medians: they leave out the turn in which the suite fills its memory.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate
from torchvision import transforms

from benchmarks.speed.measure import Recorder, Row, add_json_option
from datamodules.datasets.coco import Coco
from datamodules.datasets.pascal import Pascal
from datamodules.episodic import EpisodicDataModule
from datamodules.loading.episodes import LoadingConfig, load_episode
from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, EpisodeBatch, collate
from fsbench.data.dataset import SegmentationIndex
from fsbench.data.image_io import read_view
from fsbench.data.transforms import BY_PIL, resize_image
from fsbench.engine.machine.meter import Meter, resident_mib
from fsbench.episodes.episode import Episode
from fsbench.episodes.evaluation_order import evaluation_order
from fsbench.protocols.draws import draw_episode

DATASETS: dict[str, type[Pascal] | type[Coco]] = {"pascal": Pascal, "coco": Coco}
SAMPLES = {"pascal": "voc-mini", "coco": "coco-mini"}
T = TypeVar("T")
BLOCK = 10  # episodes that each loader takes before it is the next one's turn


class PlainLoader:
    """Loader of one sample at a time that keeps nothing but the parsed COCO annotations."""

    def __init__(self, index: SegmentationIndex, size: int):
        self.index = index
        self.size = size
        normalise = transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)
        self.transform = transforms.Compose([transforms.Resize((size, size)), transforms.ToTensor(), normalise])

    def load(self, episode: Episode, training: bool) -> dict[str, Tensor]:
        """Return images (3, S, S) float32 normalised and masks uint8; void is background (fscs-protocol §6)."""
        labels = self.label_map(episode.query)
        presence = torch.tensor([bool((labels == number).any()) for number in episode.classes])
        if training:
            labels = self.resized(labels)
        query_mask = torch.zeros(labels.shape, dtype=torch.uint8)
        for n, number in enumerate(episode.classes, 1):
            query_mask[labels == number] = n
        images, masks = [], []
        for number, way in zip(episode.classes, episode.supports, strict=True):
            images.append(torch.stack([self.image(name) for name in way]))
            masks.append(torch.stack([self.resized(self.label_map(name)) == number for name in way]))
        sample = {"query": self.image(episode.query), "query_mask": query_mask, "presence": presence}
        return default_collate([sample | {"supports": torch.stack(images), "support_masks": torch.stack(masks)}])

    def image(self, name: str) -> Tensor:
        """Return an image (3, S, S) float32, normalised."""
        image = Image.open(self.index.image_path(name)).convert("RGB")
        image = image.resize((self.size, image.height), Image.Resampling.BILINEAR)  # `resize_image` says why
        return self.transform(image)

    def resized(self, labels: Tensor) -> Tensor:
        """Resize a label map (h, w) to (S, S)."""
        shape = (self.size, self.size)
        return torch.nn.functional.interpolate(labels[None, None].float(), shape, mode="nearest")[0, 0]

    def label_map(self, name: str) -> Tensor:
        """Decode or paint the label map (h, w) of an image."""
        if isinstance(self.index, Coco):
            return torch.from_numpy(self._painted(name))
        return torch.from_numpy(np.array(Image.open(self.index.label_file(name))))

    def _painted(self, name: str) -> np.ndarray:
        import cv2  # optional, and needed for COCO alone
        from pycocotools import mask

        folder, _, file_name = name.partition("/")
        numbers, images = self._annotations[folder]
        (height, width), objects = images[file_name]
        labels = np.zeros((height, width), dtype=np.uint8)
        for item in objects:
            if isinstance(item["segmentation"], list):
                for polygon in item["segmentation"]:
                    vertices = np.array(polygon).reshape(-1, 2).astype(np.int32)
                    cv2.fillPoly(labels, [vertices], numbers[item["category_id"]])
            else:
                runs = mask.frPyObjects(item["segmentation"], height, width)
                labels[mask.decode(runs) > 0] = numbers[item["category_id"]]
        return labels

    @cached_property
    def _annotations(self) -> dict[str, Any]:
        """Return for each folder class numbers by category id, and (size, objects that are no crowd) by file name."""
        annotations = {}
        for path in (self.index.label_file(f"{folder}/") for folder in ("train2014", "val2014")):
            content = json.loads(path.read_text())
            objects = defaultdict(list)
            for item in sorted(content["annotations"], key=lambda item: item["id"]):
                if not item["iscrowd"]:
                    objects[item["image_id"]].append(item)
            numbers = {c: n for n, c in enumerate(sorted(c["id"] for c in content["categories"]), 1)}
            images = {i["file_name"]: ((i["height"], i["width"]), objects[i["id"]]) for i in content["images"]}
            annotations[path.stem.removeprefix("instances_")] = (numbers, images)
        return annotations


def check_equal(plain: dict[str, Tensor], ours: EpisodeBatch) -> None:
    """Raise AssertionError unless both loaded the same episode."""
    truth = ours.known_truth()
    label_map = truth.label_maps[0]
    pixels = {row: ours.pixels(row) for row in range(len(ours.images))}
    assert torch.equal(plain["query"][0], pixels[int(ours.query[0])])
    assert torch.equal(plain["query_mask"][0], torch.where(label_map == 255, 0, label_map))
    assert torch.equal(plain["presence"], truth.presence)
    assert torch.equal(plain["support_masks"], ours.support_masks)
    for image, row in zip(plain["supports"].flatten(0, 2), ours.support.flatten().tolist(), strict=True):
        assert torch.equal(image, pixels[row])


def our_loader(data: EpisodicDataModule, training: bool, cache_mib: int) -> Callable[[Episode], EpisodeBatch]:
    """Return the suite's loader, which keeps up to `cache_mib` MiB of decoded images."""
    config = LoadingConfig(data.image_size, resize_query_mask=training, cache_bytes=cache_mib * 2**20)
    files = config.files(data.dataset)

    def load(episode: Episode) -> EpisodeBatch:
        return collate([load_episode(data.dataset, episode, config, files)])

    return load


def compare(
    data: EpisodicDataModule, episodes: Sequence[Episode], training: bool, cache_mib: int, what: str
) -> tuple[list[str], list[Row]]:
    """Measure every loader; return a line and the raw figures for each, under the name `what`.

    A line has episodes/s in the median block, the median of the blocks' ratios to the plain loader, the ratio of the
    whole times, and the peak memory that the episodes took.
    """
    plain = PlainLoader(data.dataset, data.image_size)

    def loaders() -> dict[str, Callable[[Episode], object]]:
        normalising = our_loader(data, training, 0)
        return {
            "plain": lambda episode: plain.load(episode, training),
            "decoding alone": lambda episode: decoded(data.dataset, episode),
            "none kept": our_loader(data, training, 0),
            "none kept, normalised": lambda episode: normalised(normalising(episode)),
            "suite": our_loader(data, training, cache_mib),
        }

    plain.load(episodes[0], training)  # reads the annotations
    for _ in range(BY_PIL + 1):
        resize_image(np.zeros((2, 3, 3), np.uint8), 1)
    peaks = {name: in_child_process(partial(_peak, call, episodes)) for name, call in loaders().items()}
    load = our_loader(data, training, cache_mib)
    for episode in [*episodes[: 2 * BLOCK], *episodes[: 2 * BLOCK]]:  # the second time from memory
        check_equal(plain.load(episode, training), load(episode))
    seconds: dict[str, list[float]] = {name: [] for name in peaks}
    calls = loaders()
    for start in range(0, len(episodes), BLOCK):  # taking turns: a busy machine slows all of them
        for name, call in calls.items():
            seconds[name].append(_seconds(call, episodes[start : start + BLOCK]))
    lines = []
    for name, times in seconds.items():
        ratio = median(a / b for a, b in zip(seconds["plain"], times, strict=True))
        whole = sum(seconds["plain"]) / sum(times)
        lines.append(
            f"  {name:21} {BLOCK / median(times):7.1f} episodes/s {ratio:6.1f}x {whole:6.1f}x {peaks[name]:6.0f} MiB"
        )
    rows = [Row(what=what, path=name, times=times, peak_mib=round(peaks[name], 1)) for name, times in seconds.items()]
    return lines, rows


def decoded(index: SegmentationIndex, episode: Episode) -> None:
    """Read and decode every file of an episode once, with the suite's decoders, for the time that this takes."""
    for name in {episode.query, *(name for way in episode.supports for name in way)}:
        index.label_map(name)
        read_view(index.image_path(name), index.crop(name), short_lived=True)


def normalised(batch: EpisodeBatch) -> list[Tensor]:
    """Return all images of a batch, normalised, as the suite does on the device."""
    return [batch.pixels(row) for row in range(len(batch.images))]


def _seconds(call: Callable[[Episode], object], episodes: Sequence[Episode]) -> float:
    """Return the processor seconds of loading the episodes."""
    started = time.process_time()
    for episode in episodes:
        call(episode)
    return time.process_time() - started


def _peak(call: Callable[[Episode], object], episodes: Sequence[Episode]) -> float:
    """Return the peak memory in MiB of loading the episodes, beyond what was held before."""
    before, meter = resident_mib(), Meter(torch.device("cpu"))
    _seconds(call, episodes)
    return meter.peak_mib - before


def in_child_process(call: Callable[[], T]) -> T:
    """Return `call()`, computed in a process of its own whose memory holds nothing of earlier calls."""
    receive, send = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=lambda: send.send(call()))
    child.start()
    send.close()
    result: T = receive.recv()
    child.join()
    return result


def training_episodes(data: EpisodicDataModule, count: int) -> list[Episode]:
    """Draw `count` 1-way 1-shot episodes of base classes, queries in random order."""
    pool = data.training_pool
    order = np.random.RandomState(0).randint(len(pool.pairs), size=count)
    return [draw_episode(int(i), np.random.RandomState(i), pool, way=1, shot=1, background=True) for i in order]


def memory(data: EpisodicDataModule, cache_mib: int) -> None:
    """Print the resident memory while 10,000 evaluation episodes are loaded."""
    load, episodes = our_loader(data, False, cache_mib), evaluation_order(data.manifest.episodes)
    for done in range(10_001):
        if done in (0, 100, 2500, 5000, 7500, 10_000):
            print(f"  after {done:6} episodes: {resident_mib():6.0f} MiB", flush=True)
        load(episodes[done % len(episodes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=list(DATASETS))
    parser.add_argument("--root", help="folder of --dataset instead of the samples")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("--size", type=int, nargs="+", default=[700], help="sides of the images in pixels")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--cache-mib", type=int, default=1024)
    parser.add_argument("--memory", action="store_true", help="resident memory over 10,000 episodes")
    add_json_option(parser)
    options = parser.parse_args()
    samples = os.environ.get("FSBENCH_TEST_DATA")
    if options.root is None and samples is None:
        parser.error("give --dataset and --root, or set FSBENCH_TEST_DATA")
    torch.set_num_threads(1)  # as in a loader process
    opponent = "PIL, torchvision and torch as the authors' programs call them, nothing kept (plain), equal pixels"
    recorder = Recorder(torch.device("cpu"), opponent, is_processor=True)
    names = [options.dataset] if options.dataset else list(DATASETS)
    for name, size in product(names, options.size):
        index = DATASETS[name](options.root or str(Path(samples or "") / SAMPLES[name]))

        def module(way: int, shot: int, index: SegmentationIndex = index, size: int = size) -> EpisodicDataModule:
            settings: dict[str, Any] = {"image_size": size, "episodes": 1000, "drop_small_classes": True}
            return EpisodicDataModule(index, fold=options.fold, way=way, shot=shot, **settings)

        print(f"{name}, {size} pixels, {options.cache_mib} MiB", flush=True)
        if options.memory:
            memory(module(1, 1), options.cache_mib)
            continue
        tasks = [("training, 1-way 1-shot", module(1, 1), training_episodes(module(1, 1), options.episodes), True)]
        for way, shot in ((1, 1), (2, 5)):
            data = module(way, shot)
            episodes = evaluation_order(data.manifest.episodes)[: options.episodes]
            tasks.append((f"evaluation, {way}-way {shot}-shot", data, episodes, False))
        for title, data, episodes, training in tasks:
            what = f"{name}, {title}, {size} pixels, {BLOCK} episodes"
            lines, rows = in_child_process(partial(compare, data, episodes, training, options.cache_mib, what))
            recorder.rows += rows
            print(title, *lines, sep="\n", flush=True)
    recorder.write(options.json)


if __name__ == "__main__":
    main()
