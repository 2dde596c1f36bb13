"""Few episodes."""

import pytest

from datamodules.datasets.folder import Folder
from datamodules.episodic import EpisodicDataModule


@pytest.fixture
def data(blocks_folder):
    return EpisodicDataModule(
        Folder(str(blocks_folder)), image_size=48, way=2, shot=2, episodes=8, batch_size=3, workers=0
    )
