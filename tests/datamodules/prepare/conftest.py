"""A web server, a root that only wants its lists, and a memory of known lists that ends with each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datamodules.prepare.list_files import list_files
from tests.web import Web, serve


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        yield server


@pytest.fixture(autouse=True)
def _forget_lists() -> Iterator[None]:
    yield
    list_files.cache_clear()


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A root in which only the lists are wanting."""
    for part in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (tmp_path / "ready/VOC2012" / part).mkdir(parents=True)
    return tmp_path / "ready"
