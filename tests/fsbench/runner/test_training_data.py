"""`fsbench.load_training`: the episodes of the suite's own training, as plain tensors of a plain loader."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import fsbench
from fsbench.base.errors import SettingsError
from fsbench.data.batch import normalise
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.loading.episodes import TrainingEpisodes
from fsbench.runner.training_data import TrainingData
from tests.data_modules import episodic


def trained_on(folder: Path, **settings) -> TrainingEpisodes:
    """Return the items that the suite's own loader draws."""
    loader = episodic(Folder(str(folder)), workers=0, batch_size=4, **settings).train_dataloader()
    assert isinstance(loader.dataset, TrainingEpisodes)
    return loader.dataset


@pytest.mark.parametrize("augmentation", ["none", "pascal"])
@pytest.mark.parametrize(("protocol", "empty"), [("fscs", True), ("pfenet", False), ("hsnet", True)])
def test_the_episodes_are_those_of_the_data_module(blocks_folder, augmentation, protocol, empty):
    shared = {"protocol": protocol, "fold": 1, "augmentation": augmentation, "seed": 5}
    own = trained_on(blocks_folder, **shared, image_size=48, training_shot=2, empty=empty, drop_small=True)
    train = fsbench.load_training(
        "folder", root=blocks_folder, **shared, size=48, shot=2, empty=empty, drop_small=True, normalise="none"
    )
    assert len(train) == len(own)
    for epoch in (0, 3):
        train.set_epoch(epoch)
        for place in (0, 3, len(train) - 1):
            expected, item = own[epoch, place], train[place]
            truth = expected.known_truth()
            assert torch.equal(item["query_img"], expected.images[0])
            assert torch.equal(item["support_imgs"], expected.images[1:])
            assert torch.equal(item["query_mask"], truth.label_maps[0])
            assert torch.equal(item["support_masks"], expected.support_labels[0, 0])
            assert item["class_id"].dtype == torch.int64 and item["class_id"] == truth.classes[0, 0]


@pytest.fixture
def small(blocks_folder: Path) -> Callable[..., TrainingData]:
    return partial(fsbench.load_training, "folder", root=blocks_folder, size=32)


def test_colours(small):
    raw, usual = small(normalise="none"), small()
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    other = small(normalise=(mean, std))
    pixels = raw[3]["support_imgs"]
    assert pixels.dtype == torch.uint8 and pixels.shape == (1, 3, 32, 32)
    assert torch.equal(usual[3]["support_imgs"], normalise(pixels))
    column = (torch.tensor(values)[:, None, None] for values in (mean, std))
    assert torch.allclose(other[3]["support_imgs"], (pixels / 255 - next(column)) / next(column))


def test_a_plain_loader_stacks_them_in_any_epoch(small):
    """Workers that stay alive are told of the epoch, too."""
    train, alone = small(normalise="none", shot=2), small(normalise="none", shot=2)
    loader = DataLoader(train, 8, num_workers=2, persistent_workers=True)
    seen = []
    for epoch in (0, 2):
        train.set_epoch(epoch)
        alone.set_epoch(epoch)
        batches = list(loader)
        assert batches[0]["query_img"].shape == (8, 3, 32, 32) and batches[0]["class_id"].shape == (8,)
        assert batches[0]["support_masks"].shape == (8, 2, 32, 32)
        stacked = torch.cat([batch["support_imgs"] for batch in batches])
        assert torch.equal(stacked, torch.stack([item["support_imgs"] for item in alone]))
        seen.append(stacked)
    assert not torch.equal(*seen)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("folder", {"augmentation": "pascl"}, "unknown augmentation 'pascl'; did you mean 'pascal'?"),
        ("folder", {"normalise": "no"}, "normalise is no, expected imagenet, none or"),
        ("folder", {"normalise": ((0, 0, 0), (1, 1, 0))}, "no std being 0"),
        ("folder", {"normalise": (("a", 0, 0), (1, 1, 1))}, "three colours each"),
        ("folder", {"normalise": np.ones((3, 2))}, "normalise is [[1. 1.] [1. 1.] [1. 1.]], expected"),
        ("folder", {"size": "64"}, "size is '64', expected a whole number from 1"),
        ("folder", {"shot": 0}, "shot is 0, expected 1 or more"),
        (
            "folder",
            {"protocol": "hsnt"},
            "unknown protocol 'hsnt'; did you mean 'hsnet'? (see: fsbench list protocols)",
        ),
        ("folder", {"fold": 9}, "fold"),
        ("demo-cls", {}, "is a data set of classification; expected one of segmentation"),
        ("dem", {}, "did you mean 'demo'"),
    ],
)
def test_settings_that_do_not_fit(small, blocks_folder, name, settings, said):
    with pytest.raises(SettingsError) as error:
        fsbench.load_training(name, **{"root": blocks_folder, "size": 32, **settings})
    assert said in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(SettingsError, match="epoch is -1"):
        small().set_epoch(-1)
