"""Random changes of training pictures as one after the other, and what loaders make of them.

Each change by itself, and boxes around masks, are compared with the authors' as goldens.
"""

import random
import threading

import numpy as np
import pytest
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.core.needs import Needs
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.loading.augment import (
    Augmentation,
    Crop,
    ResizedAugmentation,
    Rotate,
    Scale,
    Squash,
    blur,
    flip,
    named_augmentation,
)
from fsbench.datamodules.loading.scratch import Scratch
from fsbench.datamodules.loading.whole_images import labelled_image
from fsbench.runner.config.run_config import RunConfig
from tests.data_modules import episodic


def picture(height=50, width=70, seed=0):
    rng = np.random.RandomState(seed)
    label = np.zeros((height, width), np.uint8)
    label[10:30, 20:45] = 1
    return rng.randint(0, 255, (height, width, 3)).astype(np.float32), label


def chain(change, image, label, rng):
    """The changes one after the other on whole images in fresh memory."""
    image = image.astype(np.float32)
    last = Squash(change.side) if isinstance(change, ResizedAugmentation) else Crop(change.side)
    for step in (Scale(change.factors), Rotate(), blur, flip, last):
        image, label = step(image, label, rng)
    return image.transpose(2, 0, 1), label


def assert_equals_the_chain(change, image, label, seed):
    """Also the stream of draws stands where the chain leaves it: all follows from the seed."""
    rng, plain = random.Random(seed), random.Random(seed)
    for found, expected in zip(change(image, label, rng), chain(change, image, label, plain), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert rng.getstate() == plain.getstate()


@pytest.mark.parametrize("factors", [(0.9, 1.1), (0.8, 1.25)])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (30, 200), (200, 30), (91, 64)])
def test_the_augmentation_is_the_chain_of_its_steps(shape, factors):
    rng = np.random.RandomState(shape[0])
    image = rng.randint(0, 256, (*shape, 3)).astype(np.uint8)
    label = rng.choice([0, 1, 255], shape).astype(np.uint8)
    for seed in range(12):
        assert_equals_the_chain(Augmentation(33 + 32 * (seed % 2), factors), image, label, seed)
        assert_equals_the_chain(ResizedAugmentation(33, factors), image, label, seed)


def test_the_augmentation_is_the_chain_on_real_photos(real_data):
    """Landscape, portrait and grey ones, after larger and smaller images."""
    data = Pascal(str(real_data / "voc-mini"))
    names = sorted(path.stem for path in data.label_file("a").parent.glob("*.png"))
    images = [labelled_image(data, name, [1, 15]) for name in names[:12]]
    portraits, landscapes = ([i for i in images if (i[1].shape[0] > i[1].shape[1]) == tall] for tall in (True, False))
    images = [portraits[0], *landscapes[:2]]
    grey, label = images[0]
    images.append((np.ascontiguousarray(grey[..., :1].repeat(3, axis=2)), label))
    for seed, (image, label) in enumerate([*images, *images]):
        assert_equals_the_chain(Augmentation(473), image, label, seed)


@pytest.mark.parametrize(
    ("method", "dataset", "factors"),
    [
        ("bam", "pascal", (0.9, 1.1)),
        ("bam", "coco", (0.8, 1.25)),
        ("pspnet", "pascal", (0.5, 2.0)),
        *(
            pytest.param(name, dataset, factors, marks=pytest.mark.slow(1))
            for name in ("hmnet", "pfenet", "hdmnet")
            for dataset, factors in (("pascal", (0.9, 1.1)), ("coco", (0.8, 1.25)))
        ),
    ],
)
def test_a_method_scales_as_its_authors_do_on_each_data_set(method, dataset, factors):
    """hmnet.md §10.1, which BAM and PFENet share, and §2.4.2; hdmnet.md §8."""
    name = RunConfig(method, dataset).parse(build=False).data_arguments["training"]["augmentation"]
    assert named_augmentation(name, 64).factors == factors


def test_only_what_a_small_crop_reads_is_rotated():
    """And blurred, from both sides: the crop is a small part of a large image."""
    image, label = picture(230, 420)
    for seed in range(30):
        assert_equals_the_chain(Augmentation(65 + 16 * (seed % 3)), image, label, seed)


def test_an_image_larger_than_the_memory_that_is_kept(monkeypatch):
    monkeypatch.setattr(Scratch, "LARGEST", 5000)
    for seed in range(10):
        assert_equals_the_chain(Augmentation(57), *picture(), seed)


def test_a_result_stays_when_the_next_image_comes():
    first, second = picture(seed=1), picture(seed=2)
    change = Augmentation(57)
    planes, label = change(*first, random.Random(3))
    kept = planes.copy(), label.copy()
    change(*second, random.Random(4))
    assert np.array_equal(planes, kept[0]) and np.array_equal(label, kept[1])


def test_a_crop_that_cannot_keep_it_stops_after_32_draws():
    image, label = picture()
    rng = random.Random(0)
    assert Crop(10)(image, label, rng)[1].shape == (10, 10)
    again = random.Random(0)
    for _ in range(32):
        again.randint(0, 40), again.randint(0, 60)
    assert rng.random() == again.random()


def module(folder, **options):
    settings = dict(protocol="fscs", image_size=33, batch_size=4, workers=0, empty=False)
    return episodic(Folder(str(folder)), **settings | options)


def batch_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.batch_sampler.set_epoch(epoch)
    return next(iter(loader))


def test_augmented_episodes_have_pictures_of_their_own(blocks_folder):
    data = module(blocks_folder, augmentation="pascal", training_shot=2)
    batch = batch_of(data)
    assert batch.images.shape[1:] == (3, 33, 33) and batch.images.dtype == torch.float32
    assert batch.support.shape == (4, 1, 2) and len(batch.images) == 12 == len(set(batch.image_keys))
    assert not batch.recurs and batch_of(module(blocks_folder)).recurs  # nothing is kept of them
    again, later = batch_of(data), batch_of(data, epoch=1)
    assert torch.equal(batch.images, again.images) and not set(batch.image_keys) & set(later.image_keys)
    assert data.training_options == {"augmentation": "pascal", "training_shot": 2}


@pytest.mark.parametrize("augmentation", ["pascal", "none"])
def test_labels_of_all_base_classes_follow_the_querys_image(blocks_folder, augmentation):
    """Where they name the episode's class is where its own label map has it (bam.md §8); nothing is drawn for them."""
    data = module(blocks_folder, augmentation=augmentation)
    plain = batch_of(data)
    data.needs = Needs(base_maps=True)
    batch, numbers = batch_of(data), sorted(data.training_pool.class_ids)
    assert plain.truth.base_maps == [] and torch.equal(plain.images, batch.images)
    for own, base, number in zip(batch.truth.label_maps, batch.truth.base_maps, batch.truth.classes[:, 0], strict=True):
        assert torch.equal(base == 1 + numbers.index(int(number)), own == 1) and base.shape == (33, 33)
        assert torch.equal(base == 255, own == 255)
    assert len(torch.stack(batch.truth.base_maps).unique()) > 3


def test_boxes_weaken_the_test_supports_only(blocks_folder):
    masks, boxes = (module(blocks_folder, support_annotation=a, episodes=20) for a in ("mask", "bbox"))
    pairs = zip(masks.test_dataloader(), boxes.test_dataloader(), strict=True)
    grown = 0
    for mask, box in pairs:
        assert ((mask.support_labels == 1) <= (box.support_labels != 0)).all()
        assert torch.equal(mask.truth.label_maps[0], box.truth.label_maps[0])
        grown += int((box.support_labels == 1).sum() - (mask.support_labels == 1).sum())
    assert grown > 0 and boxes.test_options == {"support_annotation": "bbox"} and masks.test_options == {}
    assert torch.equal(batch_of(masks).support_labels, batch_of(boxes).support_labels)


def test_base_classes_with_fewer_images_than_training_shots(blocks_folder):
    with pytest.raises(SettingsError, match="training_shot is 0, expected 1 or more"):
        module(blocks_folder, training_shot=0)
    with pytest.raises(
        DataError, match=r"\(.* 31 each are needed\); add images, lower --data.training.training_shot, or leave"
    ):
        module(blocks_folder, training_shot=30).train_dataloader()
    data = module(blocks_folder)
    sizes = {number: len(data.training_pool.images_of[number]) for number in data.training_pool.class_ids}
    smallest = min(sizes, key=sizes.get)
    fewer = module(blocks_folder, training_shot=sizes[smallest], drop_small=True)
    assert list(fewer.training_pool.class_ids) == [n for n in sizes if sizes[n] > sizes[smallest]]
    assert batch_of(fewer).support.shape[2] == sizes[smallest]


def test_memory_is_used_again_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scratch, "LARGEST", 64)
    scratch = Scratch()
    first = scratch.array("a", (4, 4), np.float32)
    assert first.shape == (4, 4) and first.dtype == np.float32
    assert np.shares_memory(scratch.array("a", (3,)), first) and not np.shares_memory(scratch.array("b", (3,)), first)
    others = []
    thread = threading.Thread(target=lambda: others.append(scratch.array("a", (3,))))
    thread.start()
    thread.join()
    assert not np.shares_memory(others[0], first)
    large = scratch.array("a", (17,), np.float32)
    assert not np.shares_memory(large, scratch.array("a", (17,), np.float32))
