"""A web server, a root that only wants its lists, and a memory of known lists that ends with each test."""

import errno
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsbench.data.published import list_files
from tests.web import Web, serve


@pytest.fixture
def web() -> Iterator[Web]:
    with serve() as server:
        yield server


@pytest.fixture(scope="session")
def large_lists(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released lists that are kept packed, unpacked once; nobody writes there."""
    folder = tmp_path_factory.mktemp("large-lists")
    with tarfile.open(real_data / "official-lists/large-lists.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(autouse=True)
def _forget_lists() -> Iterator[None]:
    yield
    list_files.cache_clear()


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """A root in which only the lists are wanting."""
    for part in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (tmp_path / "ready/VOC2012" / part).mkdir(parents=True)
        (tmp_path / "ready/VOC2012" / part / "a").touch()
    return tmp_path / "ready"


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that no rename leads into or out of, as on another disk."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def on_disk(path: str | os.PathLike) -> bool:
        return Path(path).parent.resolve().is_relative_to(disk)

    def renamed(source: str | os.PathLike, target: str | os.PathLike, rename=os.replace) -> None:
        if on_disk(source) != on_disk(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))
        rename(source, target)

    monkeypatch.setattr(os, "replace", renamed)
    monkeypatch.setattr(os, "rename", renamed)
    return disk
