"""Label maps become what torch, OpenCV and PIL make of them, and regions are OpenCV's; none of these is needed.

Padded frames (fssdino.md §3 step 5, §5) equal those of albumentations 2.0.8 in runs by hand.
"""

import random

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from fsbench.data.connected import bounding_boxes, largest_part_box
from fsbench.data.label_maps import (
    frame_labels,
    frame_shape,
    over_image,
    resize_labels,
    resize_labels_cv2,
    resize_labels_linear,
    stretch,
    stretch_truth,
    way_labels,
)

LENGTHS = [
    (22, 1353), (52, 1066), (224, 384), (1353, 22), (512, 375), (512, 500), (417, 640), (1, 7), (7, 1), (333, 333)
]  # fmt: skip
"""Lengths before and after, the first two where a second rounding would give another pixel, the third where that of
the index to float32 does: rows 108, 204, 216 take 62, 118, 125, one less than the exact quotient (fss-protocol §4)."""
SIZES = [(480, 640), (640, 427), (333, 500), (17, 300), (1, 900), (512, 512), (60, 60)]


def lengths():
    rng = random.Random(0)
    return [*LENGTHS, *((rng.randint(1, 1400), rng.randint(1, 1400)) for _ in range(300))]


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
        assert np.array_equal(resize_labels(labels.T, size, 2), nearest.T), (length, size)
        opencv = cv2.resize(labels, (size, 2), interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(resize_labels_cv2(labels, 2, size), opencv), (length, size)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_label_maps_of_every_type_and_order_in_memory_are_resized(kind):
    labels = np.random.RandomState(0).randint(0, 2, (31, 50)).astype(kind)
    rows, columns = np.arange(20) * 31 // 20, np.arange(25) * 50 // 25
    for given_map in (labels, np.asfortranarray(labels)):
        resized = resize_labels(given_map, 20, 25)
        assert resized.dtype == kind and resized.flags.c_contiguous
        np.testing.assert_array_equal(resized, labels[rows][:, columns])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_classes_become_ways_and_void_stays_void(dtype):
    labels = np.array([[0, 7, 3], [9, 255, 7]], dtype=dtype)
    assert way_labels(labels, [7, 3]).tolist() == [[0, 1, 2], [0, 255, 1]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (384, 512)), ((640, 427), (512, 342)), ((333, 500), (341, 512)), ((1, 900), (1, 512)),
     ((1, 2000), (1, 512)), ((1024, 5), (512, 2)), ((1024, 3), (512, 2)), ((60, 60), (512, 512))],
)  # fmt: skip
def test_the_longer_side_fills_the_frame_and_the_other_is_rounded(size, expected):
    """2.5 and 1.5 both become 2, the even number."""
    assert frame_shape(*size, 512) == expected


@pytest.mark.parametrize("size", SIZES)
def test_the_truth_is_stretched_from_the_whole_frame(size):
    labels = np.random.default_rng(1).integers(0, 3, size, dtype=np.uint8)
    height, width = frame_shape(*size, 128)
    framed = frame_labels(labels, 128)
    assert np.array_equal(framed[:height, :width], resize_labels_cv2(labels, height, width))
    assert (framed[height:] == 255).all() and (framed[:, width:] == 255).all()
    whole = torch.from_numpy(np.where(framed == 255, 0, framed))
    expected = interpolate(whole[None, None].float(), size, mode="nearest-exact")[0, 0]
    assert np.array_equal(stretch_truth(labels, 128), expected.numpy())


@pytest.mark.parametrize("size", [(480, 640), (640, 427), (512, 512)])
def test_for_pictures_what_was_stretched_lies_over_the_image_again(size):
    labels = np.zeros(size, dtype=np.uint8)
    labels[size[0] // 3 : size[0] // 2, size[1] // 4 : size[1] * 3 // 4] = 1
    squashed = stretch_truth(labels, 512)
    again = over_image(squashed, 512)
    assert again.shape == size and (again != labels).mean() < 0.01
    assert over_image(squashed, None) is squashed
    if size[0] != size[1]:
        assert (squashed != labels).mean() > 0.03


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


@pytest.mark.parametrize("shape", [(60, 80), (300, 420), (512, 512), (1024, 512), (11, 374), (1, 9), (256, 256)])
def test_masks_are_resized_bilinearly_as_opencv_does_8_bits(shape):
    rng = np.random.RandomState(sum(shape))
    for side in (64, 100, 256):
        mask = (rng.random_sample(shape) < 0.5).astype(np.uint8)
        expected = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(resize_labels_linear(mask, side, side), expected)
        labels = np.where(mask, 3, 0).astype(np.uint8)
        labels[rng.random_sample(shape) < 0.2] = 7
        found = resize_labels_linear(labels, side, side)
        for label in (3, 7):
            own = cv2.resize((labels == label).astype(np.uint8), (side, side), interpolation=cv2.INTER_LINEAR) > 0
            assert np.array_equal(found == label, own & (found != 7) if label == 3 else own)
