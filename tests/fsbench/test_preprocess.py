"""Resizing and renaming as the official programs do."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsbench.preprocess import resize_image, resize_labels, way_labels


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 720), st.integers(1, 720))
@settings(max_examples=200, deadline=None)
def test_label_maps_are_resized_as_torch_does(height, width, out_height, out_width):
    labels = np.random.RandomState(height).randint(0, 256, (height, width)).astype(np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(labels)[None, None].float(), (out_height, out_width), mode="nearest"
    )[0, 0]
    assert (resize_labels(labels, out_height, out_width) == expected.numpy()).all()


def test_float32_rounding_of_the_source_index_is_kept():
    """224 -> 384: rows 108, 204, 216 take 62, 118, 125, one less than the exact quotient (fss-protocol §4)."""
    column = np.arange(224, dtype=np.uint8)[:, None]
    assert resize_labels(column, 384, 1)[[108, 204, 216], 0].tolist() == [62, 118, 125]


@pytest.mark.parametrize("size", [(500, 375), (640, 480), (333, 500), (64, 48), (700, 700)])
def test_images_are_resized_by_pils_bilinear_filter(size):
    rng = np.random.RandomState(1)
    image = Image.fromarray(rng.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8))
    expected = np.asarray(image.resize((700, 700), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert (resize_image(image, 700).numpy() == expected).all()


def test_tall_images_are_filtered_height_first_whatever_pil_is_installed():
    image = Image.fromarray(np.random.RandomState(1).randint(0, 256, (91, 64, 3)).astype(np.uint8))
    bilinear = Image.Resampling.BILINEAR
    height_first = np.asarray(image.resize((64, 56), bilinear).resize((56, 56), bilinear)).transpose(2, 0, 1)
    width_first = np.asarray(image.resize((56, 91), bilinear).resize((56, 56), bilinear)).transpose(2, 0, 1)
    assert (resize_image(image, 56).numpy() == height_first).all()
    assert (height_first != width_first).any()


def test_classes_become_ways_and_void_stays_void():
    labels = np.array([[0, 7, 3], [9, 255, 7]], dtype=np.uint8)
    assert way_labels(labels, [7, 3]).tolist() == [[0, 1, 2], [0, 255, 1]]
