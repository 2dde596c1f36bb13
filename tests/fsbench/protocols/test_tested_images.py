"""Folds are of one copy of the data where the files of all their tests are, those of training images included."""

from pathlib import Path

import pytest

from fsbench.base.errors import DataError, SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.task import Task
from fsbench.protocols.reading import load_protocol, protocol_names
from tests.fsbench.protocols.drawn_sets import DRAWN, pascal_with_novel_training
from tests.fsbench.protocols.test_presence import coco

SEGMENTATION = [name for name in protocol_names() if load_protocol(name).has_masks]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[SegmentationData]:
    """Return four data sets: two with training images for some tests, one of large objects, one of scans."""
    draw = pascal_with_novel_training, coco, DRAWN["coco"], DRAWN["chaost2"]
    return [one(tmp_path_factory.mktemp("drawn")) for one in draw]


def files(data: SegmentationData, names: list[str]) -> set[Path]:
    return {file(name) for name in names for file in (data.image_path, data.label_file)}


@pytest.mark.parametrize("name", SEGMENTATION)
def test_the_files_of_all_folds_have_those_of_every_episode(drawn: list[SegmentationData], name: str) -> None:
    protocol, tested = load_protocol(name), 0
    for data in drawn:
        try:
            seen = protocol.draw.data(data)
            task = protocol.draw.with_own_ways(seen, Task(0, episodes=10, drop_small=True))
            manifest = protocol.manifest(seen, task)
        except (DataError, SettingsError):
            continue  # the data set has no such test
        tested += 1
        all_names = list(protocol.draw.tested_images(seen, manifest.header.setting))
        assert files(seen, list(manifest.image_names)) <= files(seen, all_names)
    assert tested
