"""A small data set of files."""

from pathlib import Path

import pytest

from fsbench.datamodules.datasets.folder import Folder


@pytest.fixture(scope="module")
def dataset(blocks_folder: Path) -> Folder:
    return Folder(str(blocks_folder))
