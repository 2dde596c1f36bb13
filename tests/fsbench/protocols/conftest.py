"""Drawn data sets for tests of protocols, each drawn once."""

from collections.abc import Callable
from functools import cache

import pytest

from fsbench.data.dataset import SegmentationData
from tests.fsbench.protocols.drawn_sets import DRAWN


@pytest.fixture(scope="session")
def datasets(tmp_path_factory) -> Callable[[str], SegmentationData]:
    opened: dict[str, SegmentationData] = {}

    def open_once(dataset: str) -> SegmentationData:
        if dataset not in opened:
            opened[dataset] = DRAWN[dataset](tmp_path_factory.mktemp(dataset))
            opened[dataset].class_pixels = cache(opened[dataset].class_pixels)  # a mask is opened once
        return opened[dataset]

    return open_once
