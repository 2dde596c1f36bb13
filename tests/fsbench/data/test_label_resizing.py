"""Label maps become what torch, OpenCV and PIL make of them, and regions are OpenCV's; none of these is needed."""

import random

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from fsbench.data.frames import stretch
from fsbench.data.label_maps import bounding_boxes, largest_part_box, resize_labels, resize_labels_cv2

SIZES = [(22, 1353), (52, 1066), (1353, 22), (512, 375), (512, 500), (417, 640), (1, 7), (7, 1), (333, 333)]
"""Lengths before and after, the first two where a second rounding would give another pixel."""


def lengths():
    rng = random.Random(0)
    return [*SIZES, *((rng.randint(1, 1400), rng.randint(1, 1400)) for _ in range(300))]


def places(length):
    """Map each pixel of a row to its number, in two values of 8 bits."""
    return np.stack([np.arange(length) // 256, np.arange(length) % 256]).astype(np.uint8)


def test_nearest_pixels_are_those_of_torch_and_opencv():
    for length, size in lengths():
        labels = places(length)
        maps = torch.from_numpy(labels)[None, None].float()
        exact = interpolate(maps, (2, size), mode="nearest-exact")[0, 0].byte().numpy()
        assert np.array_equal(stretch(labels, (2, size)), exact), (length, size)
        assert np.array_equal(stretch(labels.T, (size, 2)), exact.T), (length, size)
        nearest = interpolate(maps, (2, size), mode="nearest")[0, 0].byte().numpy()
        assert np.array_equal(resize_labels(labels, 2, size), nearest), (length, size)
        opencv = cv2.resize(labels, (size, 2), interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(resize_labels_cv2(labels, 2, size), opencv), (length, size)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_are_those_of_opencvs_regions(seed):
    rng = np.random.default_rng(seed)
    label = (rng.random(rng.integers(1, 40, 2)) < rng.random()).astype(np.uint8)
    label[rng.random(label.shape) < 0.05] = 255
    mask = (label == 1).astype(np.uint8)
    _, parts, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    filled = np.zeros_like(label)
    for left, top, width, height, _ in boxes[1:]:
        filled[top : top + height + 1, left : left + width + 1] = 1
    assert np.array_equal(bounding_boxes(label), np.where(label == 255, 255, filled))
    found = largest_part_box(mask)
    largest = [number for number in range(1, len(boxes)) if boxes[number, 4] == boxes[1:, 4].max()]
    first = min(largest, key=lambda number: np.flatnonzero(parts == number)[0], default=None)
    assert found == (None if first is None else tuple(float(side) for side in boxes[first, :4]))
