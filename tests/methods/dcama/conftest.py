"""The small pyramid by its name, and a data module for it."""

from dataclasses import replace

import pytest

from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule
from fsbench.backbones.pyramid_networks import PYRAMIDS
from tests.methods.modules.small import SMALL


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(PYRAMIDS, "small", SMALL)
    monkeypatch.setitem(PYRAMIDS, "eight", replace(SMALL, multiple=8))


@pytest.fixture
def data(blocks_folder):
    return EpisodicDataModule(
        Folder(str(blocks_folder)), image_size=64, way=2, shot=2, episodes=6, batch_size=3, workers=0
    )
