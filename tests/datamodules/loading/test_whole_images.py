"""Whole images with the labels of base classes, against plain loops over label maps."""

import json

import cv2
import numpy as np
import pytest
import torch

from fsbench.data.episodes.episode import Episode
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import read_pixels
from fsbench.data.label_maps import padded_shape
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.loading.items import LoadingConfig, load_item
from fsbench.protocols.episode_rules.image_lists import ImageLists
from fsbench.protocols.whole_images import WHOLE_IMAGES
from tests.methods.small import data


def remapped(labels, base):
    """The k-th base class becomes k, all other classes 0, void stays 255."""
    expected = np.zeros_like(labels)
    for place, number in enumerate(sorted(base), start=1):
        expected[labels == number] = place
    expected[labels == 255] = 255
    return expected


def images_module(folder, **options):
    return data(folder, training_items="images", validation="images", validation_episodes=None, **options)


def test_every_training_image_is_there_with_novel_classes_as_background(blocks_folder):
    """Also images that show a novel class, which HMNet's own list leaves out."""
    module = images_module(blocks_folder, size=41, protocol="pfenet")
    names = (blocks_folder / "ImageSets/Segmentation/train.txt").read_text().split()
    data, items = module.dataset, module.train_dataloader().dataset
    assert sorted(items.names) == sorted(names) and len(items) == 24
    novel = data.test_classes(0)
    assert sum(bool(np.isin(data.label_map(name), novel).any()) for name in names) > 3
    for i, name in enumerate(items.names):
        item = items[0, i]
        expected = remapped(data.label_map(name), data.train_classes(0))
        found = item.truth.label_maps[0].numpy()
        assert np.array_equal(found, cv2.resize(expected, (41, 41), interpolation=cv2.INTER_NEAREST))
        assert item.truth.presence[0].tolist() == [(found == place).any() for place in (1, 2, 3)]


def test_an_augmented_image_is_a_function_of_seed_epoch_and_place(blocks_folder):
    first, second = (
        images_module(blocks_folder, augmentation="base_learner").train_dataloader().dataset for _ in range(2)
    )
    assert torch.equal(first[1, 3].images, second[1, 3].images)
    assert not torch.equal(first[1, 3].images, first[2, 3].images)
    assert first[1, 3].images.shape == (1, 3, 33, 33) and first[1, 3].images.dtype == torch.float32


def test_validation_is_the_whole_list_by_the_padded_resize(blocks_folder):
    module = images_module(blocks_folder, size=41)
    names = (blocks_folder / "ImageSets/Segmentation/val.txt").read_text().split()
    manifest = module.validation_manifest
    assert [episode.query for episode in manifest.episodes] == sorted(names) and len(names) == 24
    assert manifest.class_ids == [4, 5, 6] == manifest.entries["class_ids"]
    shapes = set()
    for batch, name in zip(module.val_dataloader(), sorted(names), strict=True):
        labels = remapped(module.dataset.label_map(name), [4, 5, 6])
        height, width = labels.shape
        long, short = max(height, width), min(height, width)
        inner = (40, int(short * (41 / long)) // 8 * 8)
        inner = inner if height >= width else inner[::-1]
        assert inner == padded_shape(height, width, 41)
        target = batch.truth.label_maps[0].numpy()
        resized = cv2.resize(labels, inner[::-1], interpolation=cv2.INTER_NEAREST)
        assert np.array_equal(target[: inner[0], : inner[1]], resized)
        outside = np.ones((41, 41), dtype=bool)
        outside[: inner[0], : inner[1]] = False
        assert (target[outside] == 255).all() and (batch.images[0][:, torch.from_numpy(outside)] == 0).all()
        assert batch.images[0][:, : inner[0], : inner[1]].min() > 0
        shapes.add(inner)
    assert len(shapes) > 1
    few, first, second = (
        WHOLE_IMAGES.manifest(module.dataset, Task(fold, episodes=number))
        for fold, number in ((0, 5), (0, None), (1, None))
    )
    assert len(few.episodes) == 5 and first.sha256 != second.sha256
    assert list(few.entries) == ["kind", "dataset", "fold", "class_ids", "class_names"]
    row = {"query_class": 0, "classes": [], "supports": [], "augmented": False}
    assert few.text.splitlines()[1] == json.dumps({"index": 0, "query": names[0], **row}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (375, 500, (312, 416)),
        (500, 333, (416, 272)),
        (417, 417, (416, 416)),
        (100, 80, (416, 328)),
        (2000, 3, (416, 8)),
    ],
)
def test_sizes_of_padded_images(height, width, expected):
    """By hand: 375 · 417/500 = 312.75, 333 · 417/500 = 277.7; a side is at least 8."""
    assert padded_shape(height, width, 417) == expected


def test_a_portrait_of_the_real_samples(real_data):
    data = Pascal(str(real_data / "voc-mini"))
    sizes = {name: data.label_map(name).shape for name in ImageLists.of(data).image_order("val")}
    portrait = next(name for name, (height, width) in sizes.items() if height > width)
    config = LoadingConfig(417, WHOLE_IMAGES.view)
    item = load_item(WHOLE_IMAGES.draw, data, Episode(0, portrait, 0, (1,), ((),)), config, config.files(data))
    height, width = padded_shape(*sizes[portrait], 417)
    assert height == 416 and width < 417 - 8
    assert (item.images[0, :, :, width:] == 0).all() and item.images[0, :, :, width - 8 : width].max() > 0
    pixels = read_pixels(data.image_path(portrait)).astype(np.float32)
    expected = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
    assert np.array_equal(item.images[0, :, :height, :width].numpy(), expected)
