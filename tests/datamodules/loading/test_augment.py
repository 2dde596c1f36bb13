"""Random changes of training pictures, boxes around masks, and what loaders make of them."""

import itertools
import random

import numpy as np
import pytest
import torch

from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule
from datamodules.loading.augment import Augmentation, Crop, bounding_boxes
from fsbench.errors import DataError, SettingsError


def picture(height=50, width=70, seed=0):
    rng = np.random.RandomState(seed)
    label = np.zeros((height, width), np.uint8)
    label[10:30, 20:45] = 1
    return rng.randint(0, 255, (height, width, 3)).astype(np.float32), label


def test_pieces_become_boxes_one_pixel_wider_to_the_right_and_below():
    label = np.zeros((12, 14), np.uint8)
    label[2, 3] = label[3, 4] = 1  # one piece: they touch at a corner
    label[7:9, 12:14] = 1  # at the border
    label[2, 5] = 255
    expected = np.zeros_like(label)
    expected[2:5, 3:6] = 1
    expected[7:10, 12:14] = 1
    expected[2, 5] = 255  # void is put back on top
    assert (bounding_boxes(label) == expected).all()
    assert (bounding_boxes(np.zeros_like(label)) == 0).all()


@pytest.mark.parametrize("side", [33, 57, 97])
def test_the_chain_is_a_function_of_the_seed(side):
    image, label = picture()
    change = Augmentation(side)
    first, second = (change(image, label, random.Random(5)) for _ in range(2))
    assert first[0].shape == (side, side, 3) and first[0].dtype == np.float32 and first[1].dtype == np.uint8
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert (change(image, label, random.Random(6))[0] != first[0]).any()
    assert set(np.unique(first[1])) <= {0, 1, 255}


def test_a_crop_keeps_most_of_the_foreground_when_it_can():
    image, label = picture()
    whole = (label == 1).sum()
    for seed in range(20):
        assert (Crop(40)(image, label, random.Random(seed))[1] == 1).sum() >= 0.85 * whole


def test_a_crop_that_cannot_keep_it_stops_after_32_draws():
    image, label = picture()
    rng = random.Random(0)
    assert Crop(10)(image, label, rng)[1].shape == (10, 10)
    again = random.Random(0)
    for _ in range(32):
        again.randint(0, 40), again.randint(0, 60)
    assert rng.random() == again.random()


def test_padding_is_mean_colour_and_void():
    image, label = picture(20, 20)
    padded, void = Crop(31)(image, label, random.Random(0))
    assert void[0, 0] == 255 and np.allclose(padded[0, 0], [123.675, 116.28, 103.53])
    assert (padded[5:25, 5:25] == image).all()  # half of 11 above, the rest below


def module(folder, **options):
    settings = dict(protocol="fscs", image_size=33, batch_size=4, workers=0, empty_masks=False)
    return EpisodicDataModule(Folder(str(folder)), **settings | options)


def batch_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return next(iter(loader))


def test_augmented_episodes_have_pictures_of_their_own(blocks_folder):
    data = module(blocks_folder, augmentation="pascal", training_shot=2)
    batch = batch_of(data)
    assert batch.images.shape[1:] == (3, 33, 33) and batch.images.dtype == torch.float32
    assert batch.support.shape == (4, 1, 2) and len(batch.images) == 12 == len(set(batch.image_names))
    again, later = batch_of(data), batch_of(data, epoch=1)
    assert torch.equal(batch.images, again.images) and not set(batch.image_names) & set(later.image_names)
    assert data.training_options == {"augmentation": "pascal", "training_shot": 2}


def test_boxes_weaken_the_test_supports_only(blocks_folder):
    masks, boxes = (module(blocks_folder, support_annotation=a) for a in ("mask", "bbox"))
    pairs = zip(masks.test_dataloader(), boxes.test_dataloader(), strict=True)
    grown = 0
    for mask, box in itertools.islice(pairs, 10):
        assert ((mask.support_labels == 1) <= (box.support_labels != 0)).all()
        assert torch.equal(mask.truth.label_maps[0], box.truth.label_maps[0])
        grown += int((box.support_labels == 1).sum() - (mask.support_labels == 1).sum())
    assert grown > 0 and boxes.test_options == {"support_annotation": "bbox"} and masks.test_options == {}
    assert torch.equal(batch_of(masks).support_labels, batch_of(boxes).support_labels)


def test_base_classes_with_fewer_images_than_training_shots(blocks_folder):
    with pytest.raises(DataError, match=r"\(.* 31 each are needed\); add images, lower --data.training_shot, or leave"):
        module(blocks_folder, training_shot=30).train_dataloader()
    data = module(blocks_folder)
    sizes = {number: len(data.training_pool.images_of[number]) for number in data.training_pool.class_ids}
    smallest = min(sizes, key=sizes.get)
    fewer = module(blocks_folder, training_shot=sizes[smallest], drop_small_classes=True)
    assert list(fewer.training_pool.class_ids) == [n for n in sizes if sizes[n] > sizes[smallest]]
    assert batch_of(fewer).support.shape[2] == sizes[smallest]


def test_no_shots_are_refused(blocks_folder):
    with pytest.raises(SettingsError, match="training_shot is 0, expected 1 or more"):
        module(blocks_folder, training_shot=0)
