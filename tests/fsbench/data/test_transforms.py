"""Images are resized as the official programs do it, against plain integer arithmetic of PIL's 8-bit filter.

They are filtered width first, by PIL, in two calls. Portraits tell the order: Pillow 13 filters them height first.
"""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from fsbench.data.batch import IMAGENET_MEAN, IMAGENET_STD, normalise
from fsbench.data.image_io import read_pixels
from fsbench.data.label_maps import frame_shape
from fsbench.data.transforms import RESIZES, centre_square, frame_image, resize_image
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.items import centre_image
from fsbench.predict.images import load_image
from fsbench.predict.supports import Support, stack_supports
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


def noise(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(height).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width", "size"), [(101, 47, 33), (90, 41, 64), (61, 60, 97), (47, 101, 33)])
def test_the_filter_is_plain_arithmetic_width_first(height, width, size):
    pixels = noise(height, width)
    expected = plain_resize(pixels, size)
    assert np.array_equal(resize_image(pixels, size).numpy(), expected)
    assert np.array_equal(resize_image(Image.fromarray(pixels), size).numpy(), expected)
    assert not np.array_equal(plain_resize(pixels, size, height_first=True), expected)


@pytest.mark.parametrize(("height", "width", "size"), [(300, 400, 224), (50, 41, 128), (257, 257, 224), (9, 700, 84)])
def test_centre_square_is_torchvisions(height: int, width: int, size: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    image = Image.fromarray(noise(height, width))
    found = centre_square(image, size)
    assert (found.dtype, found.shape) == (torch.uint8, (3, size, size))
    side = int(size * 1.15)  # 257 of 224
    plain = Compose([Resize((side, side)), CenterCrop(size), ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close((found.float() / 255 - mean) / std, plain(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(480, 640), (640, 427), (17, 300), (1, 900), (60, 60)])
def test_frames_are_resized_in_8_bits_and_padding_is_0_after_normalisation(size):
    pixels = noise(*size)
    height, width = frame_shape(*size, 128)
    framed = frame_image(pixels, 128)
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
    assert framed.dtype == torch.float32 and framed.shape == (3, 128, 128)
    assert np.array_equal(framed[:, :height, :width].permute(1, 2, 0).numpy(), resized)
    values = normalise(framed)
    assert not values[:, height:].any() and not values[:, :, width:].any()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    plain = ((torch.from_numpy(resized) / 255 - mean) / std).permute(2, 0, 1)
    assert torch.allclose(values[:, :height, :width], plain, atol=1e-6)


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


def test_test_and_training_images_are_filtered_width_first(portraits):
    data = Folder(str(portraits))
    module = episodic(
        data, "hsnet", image_size=33, batch_size=1, workers=0, episodes=3, validation_episodes=2, empty=False
    )  # fmt: skip
    for loader in (module.test_dataloader(), module.val_dataloader(), module.train_dataloader()):
        batch = next(iter(loader))
        for name, image in zip(batch.image_names, batch.images, strict=True):
            expected = plain_resize(read_pixels(data.image_path(name)), 33)
            assert np.array_equal(image.numpy(), expected)
    whole = episodic(data, "hsnet", image_size=33, batch_size=1, workers=0, training_items="images").train_dataloader()
    image = whole.dataset[0, 2].images[0]
    assert np.array_equal(image.numpy(), plain_resize(read_pixels(data.image_path(whole.dataset.names[2])), 33))


def test_ones_own_images_are_filtered_width_first(portraits):
    assert RESIZES["pil"][0] is resize_image
    path = portraits / "JPEGImages/portrait_0.jpg"
    pixels = read_pixels(path)
    expected = plain_resize(pixels, 33)
    assert np.array_equal(load_image(pixels, 33, "pil").pixels.numpy(), expected)
    labels = np.zeros(pixels.shape[:2], dtype=np.uint8)
    labels[10:80, 5:35] = 1
    support = Support("portrait_0", pixels, labels, {1: "a"})
    assert np.array_equal(stack_supports([support], 33, "pil").images[0].numpy(), expected)


def test_images_of_classification_are_filtered_width_first(portraits):
    data = Folder(str(portraits))
    expected = plain_resize(read_pixels(data.image_path("portrait_6")), int(40 * 1.15))[:, 3:43, 3:43]
    assert np.array_equal(centre_image(data, "portrait_6", 40).numpy(), expected)
