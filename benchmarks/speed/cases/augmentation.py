"""The training augmentation of PFENet-like methods beside its steps one after the other on whole images.

The chain is the authors' scheme (hmnet.md §10.1): scale, rotation, blur, flip and crop of a float32 image and its label
map with OpenCV, then planes, normalised channel by channel; query and support of an episode are stacked. Both draw the
same numbers. "OpenCV alone" scales, rotates and blurs as drawn and does nothing else, on three channels. The suite
leaves these to OpenCV, rotates and blurs of an image only what the crop reads, with OpenCV 5 gives an image that it
rotates a fourth channel, and writes planes where the episode has them. It normalises on the device; "suite, normalised"
does it here.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.cases.loading import DATASETS, sample
from benchmarks.speed.harness import Case
from datamodules.loading.augment import MEAN, Augmentation, LabelledImage, Rotate, Scale, blur, rotate, scale
from datamodules.loading.whole_images import labelled_image
from fsbench.data.batch import IMAGENET_STD, normalise

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


def chain_of_pair(change: Augmentation, pair: list[LabelledImage], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Query and support: images (2, 3, S, S) float32 normalised, labels (2, S, S) uint8."""
    images, labels = zip(*(chain(change, *one, rng) for one in pair), strict=True)
    return torch.stack(images), torch.stack(labels)


def suite(change: Augmentation, pair: list[LabelledImage], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Images (2, 3, S, S) float32 in 0..255, and labels."""
    images = torch.empty(len(pair), 3, change.side, change.side)
    labels = [change(*one, rng, out)[1] for one, out in zip(pair, images.numpy(), strict=True)]
    return images, torch.stack([torch.from_numpy(label) for label in labels])


def suite_normalised(change: Augmentation, pair: list[LabelledImage], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Images (2, 3, S, S) float32, normalised as on the device, and labels."""
    images, labels = suite(change, pair, rng)
    return normalise(images), labels


def opencv_alone(change: Augmentation, pair: list[LabelledImage], rng: random.Random) -> list[LabelledImage]:
    """Scale, rotate and blur with the draws of an augmentation."""
    return [opencv_of_image(change, *one, rng) for one in pair]


def opencv_of_image(change: Augmentation, image: np.ndarray, label: np.ndarray, rng: random.Random) -> LabelledImage:
    """Scale, rotate and blur an image and its labels."""
    factor, angle = Scale(change.factors).draw(rng), Rotate().draw(rng)
    pixels = scale(image.astype(np.float32), factor, cv2.INTER_LINEAR)
    label = scale(label, factor, cv2.INTER_NEAREST)
    if angle is not None:
        pixels = rotate(pixels, angle, cv2.INTER_LINEAR, MEAN)
        label = rotate(label, angle, cv2.INTER_NEAREST, (255,))
    return blur(pixels, label, rng)


PATHS: dict[str, Callable] = {
    "chain": chain_of_pair,
    "OpenCV alone": opencv_alone,
    "suite": suite,
    "suite, normalised": suite_normalised,
}


def check_equal(change: Augmentation, pairs: list[list[LabelledImage]]) -> float:
    """Return 0 where the suite and the chain give the same images and labels; else AssertionError."""
    for seed, pair in enumerate(pairs):
        (pixels, labels), (expected, known) = (
            path(change, pair, random.Random(seed)) for path in (suite_normalised, chain_of_pair)
        )
        torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-5)
        assert torch.equal(labels, known)
    return 0.0


def cases(device: torch.device, size: int = 473, images: int = 16) -> Iterator[Case]:
    """Compare the ways for the two images of an episode, on the small real samples of $FSBENCH_TEST_DATA."""
    torch.set_num_threads(1)  # as in a loader process
    cv2.setNumThreads(1)
    for name in DATASETS:
        index = sample(name)
        known = [labelled_image(index, image, [15]) for image in list(index.candidates("val"))[:images]]
        pairs = [known[i : i + 2] for i in range(0, len(known), 2)]
        change = Augmentation(size, FACTORS[name])

        def call(path: Callable, change: Augmentation = change, pairs: list = pairs) -> Callable:
            def run(turn: int) -> None:
                for number, pair in enumerate(pairs):
                    path(change, pair, random.Random(1000 * turn + number))

            return run

        yield Case(
            f"augmentation, {name}, crops of {size} pixels, an image",
            {path: call(function) for path, function in PATHS.items()},
            partial(check_equal, change, pairs),
            units=len(known),
            memory=None,
            takes_turn=True,
        )
