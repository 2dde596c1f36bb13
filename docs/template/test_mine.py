"""The method, the data set and the metric of this package, on images that are drawn here."""

from pathlib import Path

import numpy as np
import pytest
from mine.dataset import MyImages
from mine.method import Mine
from mine.metric import count_inside
from PIL import Image

import fsbench
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.scores.confusion import void_rule
from fsbench.scores.sums import Pixels


def draw_images(root: Path, number: int = 12) -> None:
    """Draw images of 96 x 96 pixels for training and as many for the test, each with an object of one class."""
    y, x = np.mgrid[:96, :96]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for part in ("trn", "val"):
        for i in range(number):
            random = np.random.default_rng([i, part == "val"])
            size, (row, column) = random.integers(16, 28), random.integers(32, 64, 2)
            down, across = abs(y - row), abs(x - column)
            square = np.maximum(down, across) < size
            disc, cross = down**2 + across**2 < size**2, square & (np.minimum(down, across) < size // 3)
            shape = [disc, square, cross, square & (across % 12 < 6)][i % 4]
            image = random.integers(0, 90, (96, 96, 3))
            image[shape] = random.integers(120, 255, 3)
            Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{part}{i:03d}.png")
            Image.fromarray((shape * (i % 4 + 1)).astype(np.uint8)).save(root / "masks" / f"{part}{i:03d}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    draw_images(tmp_path / "my_images")
    return tmp_path / "my_images"


def test_every_label_is_of_a_class_and_every_image_has_the_size_of_its_label_map(root):
    data = MyImages(str(root))
    for part in ("trn", "val"):
        assert data.candidates(part)
        for name in data.candidates(part):
            labels = data.label_map(name)
            assert set(np.unique(labels)) <= {0, 255, *range(1, len(data.class_names) + 1)}
            assert labels.shape == np.asarray(Image.open(data.image_path(name))).shape[:2]


def test_a_fold_has_novel_and_base_classes(root):
    data = MyImages(str(root))
    for fold in range(data.folds):
        assert data.test_classes(fold) and not set(data.test_classes(fold)) & set(data.train_classes(fold))


def test_the_method_finds_the_objects_better_than_it_would_by_marking_everything(root, tmp_path):
    test = fsbench.load_test("my_images", root=str(root), episodes=20)
    found = fsbench.evaluate(Mine(BackboneConfig("demo")), test, image_size=96, runs=tmp_path / "runs")
    everything = fsbench.evaluate("blind_full", test, image_size=96, runs=tmp_path / "runs")
    assert found.scores["mIoU"] > everything.scores["mIoU"] + 5


def test_the_metric_forgives_a_mask_that_is_a_pixel_too_wide():
    truth, prediction = np.zeros((2, 20, 20), dtype=np.uint8)
    truth[5:15, 5:15] = prediction[4:16, 4:16] = 1
    counts = count_inside(Pixels(prediction, truth, 1, void_rule("ignore")))
    assert counts.tolist() == [[16, 16], [16, 16]]  # 4 x 4 pixels are more than 3 from the border
