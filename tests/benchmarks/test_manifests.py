"""The episode lists in benchmarks/manifests: intact, complete, and what the official lists draw."""

import gzip
from pathlib import Path

import pytest

from benchmarks.manifests.__main__ import FOLDER, TASKS, file_of
from fsbench.data.dataset import PairList, SegmentationData
from fsbench.data.episodes.manifest import read_manifest
from fsbench.data.episodes.settings import SIZE_BINS
from fsbench.protocols.reading import load_protocol
from tests.goldens.meters import line_of

LISTS = Path(__file__).parents[1] / "goldens" / "protocols"
NAMES_ONLY = [
    pytest.param(protocol, task, marks=[pytest.mark.slow] if task.fold or task.shot == 5 else [])
    for protocol, task in TASKS
    if protocol != "pfenet" and task.setting == "original"
]


def lines_of(name):
    return gzip.decompress((LISTS / name).read_bytes()).decode().splitlines()


class OfficialNames(SegmentationData):
    """PASCAL-5i as far as names go: the lists of the golden, no files."""

    name = "pascal"
    class_names = tuple(f"class {number}" for number in range(1, 21))
    folds = 4
    query_sampling = "sequential"

    def __init__(self):
        self.pairs: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for line in lines_of("pascal_lists.txt.gz"):
            split, fold, pair = line.split()
            image, _, number = pair.partition("__")
            self.pairs.setdefault((split, int(fold)), []).append((image, int(number)))

    def test_classes(self, fold):
        return list(range(5 * fold + 1, 5 * fold + 6))

    def released_pairs(self, split, fold):
        return PairList(tuple(self.pairs[split, fold]), "official")

    def image_path(self, name):
        raise AssertionError("names only")

    label_map = candidates = image_path


def test_every_file_is_there_and_is_what_its_name_says():
    assert {path.name for path in FOLDER.iterdir()} == {file_of(*entry).name for entry in TASKS}
    for protocol, task in TASKS:
        header = read_manifest(file_of(protocol, task)).header
        assert (header.protocol, header.version) == (protocol, load_protocol(protocol).version)
        stated = [getattr(header, key) for key in ("dataset", "lists", "fold", "way", "shot", "setting")]
        assert stated == ["pascal", "official", task.fold, task.way, task.shot, task.setting]
        assert header.empty == (protocol == "fscs" and task.empty and task.setting not in SIZE_BINS)


@pytest.mark.parametrize(("protocol", "task"), NAMES_ONLY, ids=lambda value: str(value)[:40])
def test_official_lists_draw_the_same_episodes(protocol, task):
    drawn = load_protocol(protocol).manifest(OfficialNames(), task)
    kept = read_manifest(file_of(protocol, task))
    assert drawn.episodes == kept.episodes
    assert drawn.header.lists_sha256 == kept.header.lists_sha256
    assert drawn.header.all_lists_sha256 == kept.header.all_lists_sha256


def test_hsnets_own_program_drew_the_same_episodes():
    (task,) = [t for protocol, t in TASKS if protocol == "hsnet" and t.fold == 0 and t.shot == 5]
    official = lines_of("official_episodes_pascal_fold0_5shot.txt.gz")
    assert [line_of(episode) for episode in read_manifest(file_of("hsnet", task)).episodes] == official


def test_small_objects_and_augmented_supports_are_what_they_are_called():
    counts = {}
    for protocol, task in TASKS:
        if protocol == "fscs":
            manifest = read_manifest(file_of(protocol, task))
            counts[task.setting, task.fold, task.way] = len(manifest.episodes)
            augmented = sum(episode.augmented for episode in manifest.episodes)
            # fold 0 has no support image that shows two of its classes well
            assert (augmented > 0) == (task.setting.endswith("augmented") and task.fold > 0)
    assert [counts[size, 0, 1] for size in ("0-5", "5-10", "10-15", "0-15")] == [129, 119, 112, 360]
