"""Resizing and renaming as the official programs do."""

import sys
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fsbench.data import transforms as preprocess
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.transforms import centre_square, resize_image, resize_with_pil


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 720), st.integers(1, 720))
@settings(max_examples=200, deadline=None)
def test_label_maps_are_resized_as_torch_does(height, width, out_height, out_width):
    labels = np.random.RandomState(height).randint(0, 256, (height, width)).astype(np.uint8)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(labels)[None, None].float(), (out_height, out_width), mode="nearest"
    )[0, 0]
    assert (resize_labels(labels, out_height, out_width) == expected.numpy()).all()


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_label_maps_of_every_type_and_order_in_memory_are_resized(kind):
    labels = np.random.RandomState(0).randint(0, 2, (31, 50)).astype(kind)
    rows, columns = np.arange(20) * 31 // 20, np.arange(25) * 50 // 25
    for given_map in (labels, np.asfortranarray(labels)):
        resized = resize_labels(given_map, 20, 25)
        assert resized.dtype == kind and resized.flags.c_contiguous
        np.testing.assert_array_equal(resized, labels[rows][:, columns])


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


def test_tall_images_are_filtered_width_first_whatever_pil_is_installed():
    image = Image.fromarray(np.random.RandomState(1).randint(0, 256, (91, 64, 3)).astype(np.uint8))
    bilinear = Image.Resampling.BILINEAR
    height_first = np.asarray(image.resize((64, 56), bilinear).resize((56, 56), bilinear)).transpose(2, 0, 1)
    width_first = np.asarray(image.resize((56, 91), bilinear).resize((56, 56), bilinear)).transpose(2, 0, 1)
    assert (resize_image(image, 56).numpy() == width_first).all()
    assert (height_first != width_first).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_classes_become_ways_and_void_stays_void(dtype):
    labels = np.array([[0, 7, 3], [9, 255, 7]], dtype=dtype)
    assert way_labels(labels, [7, 3]).tolist() == [[0, 1, 2], [0, 255, 1]]


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 200), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_compiled_resize_equals_pils(height, width, size, extreme):
    """Also where every pixel is 0 or 255, the largest sums there are, and from or to a single pixel."""
    pytest.importorskip("numba")
    from fsbench.data.fast.resize import resize_planes

    pixels = np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)
    if extreme:
        pixels = (pixels > 127) * np.uint8(255)
    expected = resize_with_pil(Image.fromarray(pixels), size).numpy()
    np.testing.assert_array_equal(resize_planes(pixels, size), expected)


@pytest.mark.parametrize("size", [128, 384, 400, 473, 700])
def test_the_compiled_resize_equals_pils_on_photos(size, real_data, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(preprocess, "_resized", count(preprocess.BY_PIL))
    photos = sorted(real_data.rglob("*.jpg"))
    for path in photos[:: len(photos) // 25]:
        with Image.open(path) as file:
            image = file.convert("RGB")
        assert torch.equal(resize_image(image, size), resize_with_pil(image, size)), path


def test_images_are_resized_without_numba(monkeypatch):
    image = Image.fromarray(np.random.RandomState(2).randint(0, 256, (50, 30, 3)).astype(np.uint8))
    monkeypatch.setattr(preprocess, "_resized", count(preprocess.BY_PIL))
    compiled = resize_image(image, 20)
    monkeypatch.setitem(sys.modules, "fsbench.data.fast.resize", None)  # importing it fails
    preprocess._compiled_resize.cache_clear()
    try:
        assert preprocess._compiled_resize() is None and torch.equal(resize_image(image, 20), compiled)
    finally:
        preprocess._compiled_resize.cache_clear()


def test_the_first_images_of_a_process_load_no_compiler(monkeypatch):
    """Which takes longer than they do."""
    asked = []
    monkeypatch.setattr(preprocess, "_resized", count())
    monkeypatch.setattr(preprocess, "_compiled_resize", lambda: asked.append(True))
    image = Image.fromarray(np.zeros((2, 3, 3), np.uint8))
    for _ in range(preprocess.BY_PIL):
        resize_image(image, 1)
    assert not asked
    resize_image(image, 1)
    assert asked == [True]


@pytest.mark.parametrize(("height", "width", "size"), [(300, 400, 224), (50, 41, 128), (257, 257, 224), (9, 700, 84)])
def test_centre_square_is_torchvisions(height: int, width: int, size: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD

    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8))
    found = centre_square(image, size)
    assert (found.dtype, found.shape) == (torch.uint8, (3, size, size))
    side = int(size * 1.15)  # 257 of 224
    plain = Compose([Resize((side, side)), CenterCrop(size), ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close((found.float() / 255 - mean) / std, plain(image), rtol=0, atol=1e-6)
