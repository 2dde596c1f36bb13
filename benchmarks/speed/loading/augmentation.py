"""Compare the training augmentation of PFENet-like methods with its steps one after the other on whole images.

    python -m benchmarks.speed.loading.augmentation [--size 473] [--images 24] [--pairs 5] [--json FILE]

Reads the small real samples of $FSBENCH_TEST_DATA (voc-mini, coco-mini). The chain is the authors' scheme (hmnet.md
§10.1): scale, rotation, blur, flip and crop of a float32 image and its label map with OpenCV, then planes, normalised
channel by channel. Both draw the same numbers and give the same pixels and labels, which is checked first. Decoding is
not counted. The paths take turns on the same images; seconds are those of the processor, for one image. The suite
normalises on the device; "suite, normalised" does it here. "OpenCV alone" scales, rotates and blurs as drawn and does
nothing else, on three channels. The suite leaves these to OpenCV, rotates and blurs of an image only what the crop
reads, and with OpenCV 5 gives an image that it rotates a fourth channel.
"""

import argparse
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.loader import DATASETS, SAMPLES
from benchmarks.speed.measure import Recorder, Row, add_json_option
from datamodules.loading.augment import MEAN, Augmentation, LabelledImage, Rotate, Scale, blur, rotated, scaled
from datamodules.loading.whole_images import labelled_image
from fsbench.data.batch import IMAGENET_STD, normalised

FACTORS = {"pascal": (0.9, 1.1), "coco": (0.8, 1.25)}


def chain(change: Augmentation, image: np.ndarray, label: np.ndarray, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Do the steps one after the other; image (3, S, S) float32 normalised, labels (S, S) uint8."""
    pixels = image.astype(np.float32)
    for step in change.steps:
        pixels, label = step(pixels, label, rng)
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    for plane, mean, deviation in zip(planes, MEAN, IMAGENET_STD, strict=True):
        plane.sub_(mean).div_(255 * deviation)
    return planes, torch.from_numpy(np.ascontiguousarray(label))


def suite(change: Augmentation, image: np.ndarray, label: np.ndarray, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Image (3, S, S) float32 in 0..255, and labels."""
    planes, labels = change(image, label, rng)
    return torch.from_numpy(planes), torch.from_numpy(labels)


def suite_normalised(
    change: Augmentation, image: np.ndarray, label: np.ndarray, rng: random.Random
) -> tuple[Tensor, Tensor]:
    """Image (3, S, S) float32, normalised as on the device, and labels."""
    planes, labels = suite(change, image, label, rng)
    return normalised(planes), labels


def opencv_alone(change: Augmentation, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Scale, rotate and blur with the draws of an augmentation."""
    factor, angle = Scale(change.factors).draw(rng), Rotate().draw(rng)
    pixels = scaled(image.astype(np.float32), factor, cv2.INTER_LINEAR)
    label = scaled(label, factor, cv2.INTER_NEAREST)
    if angle is not None:
        pixels = rotated(pixels, angle, cv2.INTER_LINEAR, MEAN)
        label = rotated(label, angle, cv2.INTER_NEAREST, (255,))
    return blur(pixels, label, rng)


PATHS: dict[str, Callable] = {
    "chain": chain,
    "OpenCV alone": opencv_alone,
    "suite": suite,
    "suite, normalised": suite_normalised,
}


def seconds(path: Callable, change: Augmentation, images: list[LabelledImage], seed: int) -> float:
    """Return the processor seconds of an image, the mean over all."""
    started = time.process_time()
    for number, (image, label) in enumerate(images):
        path(change, image, label, random.Random(seed + number))
    return (time.process_time() - started) / len(images)


def check_equal(change: Augmentation, images: list[LabelledImage]) -> None:
    """Raise AssertionError unless the suite and the chain give the same images and labels."""
    for seed, (image, label) in enumerate(images):
        (pixels, labels), (expected, known) = (
            path(change, image, label, random.Random(seed)) for path in (suite_normalised, chain)
        )
        torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)
        assert torch.equal(labels, known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=473)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=5)
    add_json_option(parser)
    options = parser.parse_args()
    samples = os.environ.get("FSBENCH_TEST_DATA")
    if samples is None:
        parser.error("set FSBENCH_TEST_DATA")
    torch.set_num_threads(1)  # as in a loader process
    cv2.setNumThreads(1)
    opponent = "the authors' steps one after the other on whole float32 images (chain), equal draws and pixels"
    recorder = Recorder(torch.device("cpu"), opponent, is_processor=True)
    for name, kind in DATASETS.items():
        index = kind(str(Path(samples) / SAMPLES[name]))
        images = [labelled_image(index, image, [15]) for image in list(index.candidates("val"))[: options.images]]
        change = Augmentation(options.size, FACTORS[name])
        check_equal(change, images)
        times: dict[str, list[float]] = {path: [] for path in PATHS}
        for pair in range(options.pairs):
            for path, call in PATHS.items():
                times[path].append(seconds(call, change, images, 1000 * pair))
        for path, taken in times.items():
            ratio = median(a / b for a, b in zip(times["chain"], taken, strict=True))
            print(f"{name:7} {path:18} {1000 * median(taken):6.2f} ms an image {ratio:5.2f}x", flush=True)
            what = f"augmentation, {name}, crops of {options.size} pixels, an image"
            recorder.rows.append(Row(what=what, path=path, times=taken))
    recorder.write(options.json)


if __name__ == "__main__":
    main()
