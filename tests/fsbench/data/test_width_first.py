"""Images are filtered width first on every path, against plain integer arithmetic of PIL's 8-bit filter.

Portrait photos tell the order: Pillow 13 filters them height first.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.core.loading import centre_image
from fsbench.data.image_io import read_pixels
from fsbench.data.transforms import RESIZES, centre_square, resize_image, resize_with_pil
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.imagefolder import ImageFolder
from fsbench.predict.load_images import ImageLoader
from fsbench.predict.support import Support, stack_supports
from tests.data_modules import episodic
from tests.datamodules.builders import save_labels, save_names

BITS = 22
"""Number of binary digits of a weight after the point."""


def plain_pass(pixels: np.ndarray, size: int) -> np.ndarray:
    """Filter axis 0 of (h, w, 3) integers to `size` by a triangle, rounded to 8 bits."""
    length = len(pixels)
    scale = length / size
    reach = max(scale, 1.0)
    rows = []
    for place in range(size):
        centre = (place + 0.5) * scale
        first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), length)
        weights = [max(0.0, 1 - abs((i + 0.5 - centre) / reach)) for i in range(first, last)]
        total = sum(weights)
        fixed = [math.floor(weight / total * 2**BITS + 0.5) for weight in weights]
        row = sum(fixed[i - first] * pixels[i].astype(np.int64) for i in range(first, last))
        rows.append(np.clip((row + 2 ** (BITS - 1)) >> BITS, 0, 255))
    return np.stack(rows)


def plain_resize(pixels: np.ndarray, size: int, height_first: bool = False) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, size, size), each row first unless `height_first`."""
    for axis in (0, 1) if height_first else (1, 0):
        pixels = plain_pass(pixels.swapaxes(0, axis), size).swapaxes(0, axis)
    return pixels.transpose(2, 0, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory) -> Path:
    """A data set of portrait images, each with both of its classes of two folds."""
    root = tmp_path_factory.mktemp("portraits")
    rng = np.random.RandomState(4)
    names = [f"portrait_{i}" for i in range(8)]
    (root / "JPEGImages").mkdir()
    for name in names:
        height, width = int(rng.randint(90, 110)), int(rng.randint(40, 60))
        Image.fromarray(rng.randint(0, 256, (height, width, 3)).astype(np.uint8)).save(
            root / "JPEGImages" / f"{name}.jpg", quality=95
        )
        labels = np.zeros((height, width), dtype=np.uint8)
        for number in (1, 2, 3, 4):
            labels[20 * number - 15 : 20 * number, 5:35] = number
        save_labels(root / "SegmentationClassAug" / f"{name}.png", labels)
    save_names(root, train=names[:4], val=names[4:])
    (root / "folds.yaml").write_text("name: portraits\nclasses: [a, b, c, d]\nfolds: [[1, 2], [3, 4]]\n")
    return root


@pytest.mark.parametrize(("height", "width", "size"), [(101, 47, 33), (90, 41, 64), (61, 60, 97), (47, 101, 33)])
def test_the_filter_is_plain_arithmetic_width_first(height, width, size):
    pixels = np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)
    expected = plain_resize(pixels, size)
    assert np.array_equal(resize_image(pixels, size).numpy(), expected)
    assert np.array_equal(resize_with_pil(Image.fromarray(pixels), size).numpy(), expected)
    assert not np.array_equal(plain_resize(pixels, size, height_first=True), expected)


@pytest.mark.parametrize("protocol", ["fscs", "hsnet"])
def test_test_and_training_images_are_filtered_width_first(portraits, protocol):
    index = Folder(str(portraits))
    module = episodic(
        index, protocol, image_size=33, batch_size=1, workers=0, episodes=3, validation_episodes=2,
        empty_masks=protocol == "fscs",
    )  # fmt: skip
    for loader in (module.test_dataloader(), module.val_dataloader(), module.train_dataloader()):
        batch = next(iter(loader))
        for name, image in zip(batch.image_names, batch.images, strict=True):
            expected = plain_resize(read_pixels(index.image_path(name)), 33)
            assert np.array_equal(image.numpy(), expected)
    whole = episodic(
        index, protocol, image_size=33, batch_size=1, workers=0, training_items="images"
    ).train_dataloader()
    image = whole.dataset[0, 2].images[0]
    assert np.array_equal(image.numpy(), plain_resize(read_pixels(index.image_path(whole.dataset.names[2])), 33))


def test_ones_own_images_are_filtered_width_first(portraits):
    assert RESIZES["pil"][0] is resize_image
    path = portraits / "JPEGImages/portrait_0.jpg"
    pixels = read_pixels(path)
    expected = plain_resize(pixels, 33)
    assert np.array_equal(ImageLoader(33, "pil").load(pixels).pixels.numpy(), expected)
    labels = np.zeros(pixels.shape[:2], dtype=np.uint8)
    labels[10:80, 5:35] = 1
    support = Support("portrait_0", pixels, labels, {1: "a"})
    assert np.array_equal(stack_supports([support], 33, "pil").images[0].numpy(), expected)


def test_images_of_classification_are_filtered_width_first(portraits, tmp_path):
    folder = tmp_path / "classes"
    for number in range(2):
        (folder / f"class_{number}").mkdir(parents=True)
        for i in range(4):
            source = portraits / f"JPEGImages/portrait_{number * 4 + i}.jpg"
            (folder / f"class_{number}" / source.name).write_bytes(source.read_bytes())
    index = ImageFolder(str(folder))
    name = index.images[1][2]
    expected = plain_resize(read_pixels(index.image_path(name)), int(40 * 1.15))[:, 3:43, 3:43]
    assert np.array_equal(centre_image(index, name, 40).numpy(), expected)
    assert np.array_equal(centre_square(read_pixels(index.image_path(name)), 40).numpy(), expected)


@pytest.mark.parametrize("size", [97, 128])
def test_real_portraits(real_data, size):
    """And the decision is seen: height first gives other pixels."""
    found = 0
    for path in sorted((real_data / "voc-mini/JPEGImages").glob("*.jpg")):
        pixels = read_pixels(path)
        if pixels.shape[0] > 1.3 * pixels.shape[1]:
            expected = plain_resize(pixels, size)
            assert torch.equal(resize_image(pixels, size), torch.from_numpy(expected)), path
            assert not np.array_equal(plain_resize(pixels, size, height_first=True), expected)
            found += 1
        if found == 2:
            break
    assert found == 2
