"""Backbones whose weights exist nowhere, and episodes for the methods on them."""

from dataclasses import replace

import pytest

from fsbench.datamodules.datasets.folder import Folder
from fsbench.networks.backbones.timm_networks import PYRAMIDS, VITS
from fsbench.networks.weights.table import WeightFile
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse
from tests.data_modules import episodic
from tests.methods.small import PYRAMID, TINY
from tests.photos import arguments


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The transformer `tiny`."""
    vit = type(VITS["dinov2_vits14"])(TINY, table_side=4, weights=WeightFile(str(tmp_path / "tiny.pth")))
    monkeypatch.setitem(VITS, "tiny", vit)


@pytest.fixture
def pyramids(monkeypatch):
    """The pyramids `small`, and `eight`, which takes sides that are multiples of 8."""
    monkeypatch.setitem(PYRAMIDS, "small", PYRAMID)
    monkeypatch.setitem(PYRAMIDS, "eight", replace(PYRAMID, multiple=8))


@pytest.fixture
def episodes(blocks_folder):
    """episodes(image_size, number) -> a data module of 2-way 2-shot episodes, three in a batch."""
    return lambda size, number: episodic(
        Folder(str(blocks_folder)), image_size=size, way=2, shot=2, episodes=number, batch_size=3, workers=0
    )


@pytest.fixture
def experiment(photos, tmp_path):
    """experiment(method, *settings) -> an experiment on drawn images in a folder of runs of its own."""
    return lambda method, *more, root=photos: Experiment(parse(arguments(method, root, tmp_path / "runs", *more)))
