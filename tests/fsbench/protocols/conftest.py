"""Drawn data sets for tests of protocols, each drawn once."""

from collections.abc import Callable
from functools import cache

import pytest

from fsbench.data.dataset import SegmentationIndex
from tests.fsbench.protocols.drawn_sets import DRAWN


@pytest.fixture(scope="session")
def indexes(tmp_path_factory) -> Callable[[str], SegmentationIndex]:
    opened: dict[str, SegmentationIndex] = {}

    def open_once(dataset: str) -> SegmentationIndex:
        if dataset not in opened:
            opened[dataset] = DRAWN[dataset](tmp_path_factory.mktemp(dataset))
            opened[dataset].class_pixels = cache(opened[dataset].class_pixels)  # a mask is opened once
        return opened[dataset]

    return open_once
