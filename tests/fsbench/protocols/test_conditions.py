"""What protocols state of themselves in the words of the atlas, held against what their code does."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from datamodules.datasets.coco.index import Coco
from datamodules.datasets.pascal.index import Pascal
from fsbench.data.dataset import SegmentationIndex
from fsbench.episodes.task import EpisodeTask
from fsbench.metrics.confusion import COUNTS
from fsbench.protocols.conditions import NOT_STATED, VOCABULARY, Conditions
from fsbench.protocols.hsnet import HSNet
from fsbench.protocols.registry import load_protocol, protocol_names
from fsbench.protocols.segmentation import Segmentation
from tests.fsbench.runs import some_header

SEGMENTATION = [name for name in protocol_names() if isinstance(load_protocol(name), Segmentation)]
LISTED = ("hsnet", "incontext", "incontext518", "fscs", "pfenet")


class Synthetic(SegmentationIndex):
    """Twelve images of two classes in each of two folds, with the rules of a published data set.

    Image i shows class 1 + i mod 2 with 3000 pixels, and the other class of the fold with 3000, or with 900 in every
    third image. Where data are `mixed`, image 23 also shows 30 pixels of a class of the other fold.
    """

    folds = 2
    class_names = ("a", "b", "c", "d")

    def __init__(self, like: type[SegmentationIndex], mixed: bool = False):
        self.name, self.mixed = like.name, mixed
        self.query_sampling, self.min_pixels, self.list_order = like.query_sampling, like.min_pixels, like.list_order

    def test_classes(self, fold: int) -> list[int]:
        return [1, 2] if fold == 0 else [3, 4]

    def candidates(self, part: str) -> list[str]:
        return [f"im{i:02d}" for i in range(24)]

    def image_path(self, name: str) -> Path:
        return Path(name)

    def label_map(self, name: str) -> np.ndarray:
        labels, i = np.zeros((100, 100), np.uint8), int(name[2:])
        first = 1 + i % 2 + 2 * (i >= 12)
        second = first + 1 if first % 2 else first - 1
        labels.reshape(-1)[:3000] = first
        labels.reshape(-1)[5000 : 5900 if i % 3 == 0 else 8000] = second
        if self.mixed and i == 23:
            labels[99, :30] = 1
        return labels


def drawn(protocol, index, episodes=60, **task):
    return protocol.manifest(index, EpisodeTask(0, way=1, shot=1, episodes=episodes, **task))


def observed_draw(protocol, index) -> str:
    """Name the draw by what two seeds, or two passes over the list, have in common."""
    episodes = drawn(protocol, index, allow_background_queries=False).episodes
    pairs, pool, _ = protocol.test_pool(index, EpisodeTask(0, way=1, shot=1))
    queries = [(episode.query, episode.query_class) for episode in episodes]
    images = list(dict.fromkeys(name for name, _ in pairs.pairs))
    if queries == [pairs.pairs[i % len(pairs.pairs)] for i in range(len(queries))]:
        return "list of pairs"
    if [name for name, _ in queries] == [images[i % len(images)] for i in range(len(queries))]:
        passes = {name: {number for other, number in queries if other == name} for name in images}
        return "image then class" if any(len(numbers) > 1 for numbers in passes.values()) else "list of images"
    assert {number for _, number in queries} == set(pool.class_ids)
    return "class then image"


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("dataset", ["pascal", "coco"])
def test_the_stated_draw_lists_and_numbers_are_those_of_the_episodes(name, dataset):
    protocol, like = load_protocol(name), {"pascal": Pascal, "coco": Coco}[dataset]
    index = Synthetic(like)
    stated = protocol.conditions(dataset)
    assert stated.episode_draw == observed_draw(protocol, index)
    manifest = drawn(protocol, index)
    assert stated.episodes_per_fold == str(manifest.header.official_episodes)
    seed = manifest.header.seed
    assert stated.seeds == ("index of the episode" if seed is None else str(seed))
    small = {(f"im{i:02d}", 2 - i % 2) for i in range(0, 12, 3)}
    assert small.isdisjoint(protocol.pairs(index, "val", 0).pairs)  # 900 pixels are below 2048 in every published list
    base = {image for image, _ in protocol.pairs(Synthetic(like, mixed=True), "trn", 0).pairs}
    assert stated.image_lists == ("bam" if "im23" not in base else "hsnet")


@pytest.mark.parametrize("name", SEGMENTATION)
@pytest.mark.parametrize("dataset", ["pascal", "coco"])
def test_the_stated_size_is_that_at_which_pixels_are_compared(name, dataset):
    protocol = load_protocol(name)
    stated, wide = protocol.conditions(dataset).compared_at, np.zeros((60, 90), np.uint8)
    sides = {protocol.geometry.truth(wide, side)[0].shape for side in (32, 48)}
    if len(sides) == 2:
        padded = protocol.geometry.resize == "padded"
        assert stated == "network input" and sides == ({(16, 32), (32, 48)} if padded else {(32, 32), (48, 48)})
    elif sides == {(60, 90)}:
        assert stated == "original"
    elif stated != NOT_STATED:
        ((rows, columns),) = sides
        assert stated == f"fixed {columns}"
        assert rows == (columns if protocol.geometry.resize != "padded" else columns * 2 // 3 // 8 * 8)


@pytest.mark.parametrize("name", SEGMENTATION)
def test_the_stated_void_rule_is_that_of_the_score(name):
    protocol, stated = load_protocol(name), load_protocol(name).conditions("pascal")
    if stated.void == NOT_STATED:
        pytest.skip("its class counts in another way and says nothing of void")

    def score(predicted_on_void: int) -> float:
        counts = dict(zip(COUNTS, (50, 60, 70, predicted_on_void, 40, 960), strict=True))
        row = {"episode": 0, "class_id": 1, "present": True, "decided": True, "score": 1.0, "query": "q"} | counts
        frame = pl.DataFrame([row | {"slot": slot} for slot in (0, 1)])
        header = some_header(protocol=name, class_ids=[1], dataset="pascal", run_lengths=[1], novel_ids=[1])
        return float(protocol.statistics(frame, header).scores()["mIoU"].item())

    assert score(0) == pytest.approx(100 * 50 / 80)
    assert score(20) == pytest.approx(100 * 50 / {"ignored": 80, "background": 100}[stated.void])


def test_every_word_is_in_the_closed_lists():
    for name in protocol_names():
        for dataset in ("pascal", "coco", "fss1000", "isaid", "demo"):
            for condition, word in asdict(load_protocol(name).conditions(dataset)).items():
                assert word == NOT_STATED or word in VOCABULARY.get(condition, (word,)), (name, dataset, condition)


def test_a_class_that_draws_or_counts_otherwise_states_nothing_of_what_it_changed():
    class Other(HSNet):
        def draw(self, index, pool, task):
            return iter(())

    class Counted(HSNet):
        def statistics(self, frame, header):
            return super().statistics(frame, header)

    made = {"name": "x", "version": 1, "summary": ""}
    hsnet, other, counted = (kind(**made).conditions("pascal") for kind in (HSNet, Other, Counted))
    assert hsnet == load_protocol("hsnet").conditions("pascal")
    assert other == replace(hsnet, image_lists=NOT_STATED, min_object=NOT_STATED, episode_draw=NOT_STATED)
    assert counted == replace(hsnet, void=NOT_STATED, metric=NOT_STATED, fb_iou=NOT_STATED)
    assert load_protocol("fort").conditions("cub") == Conditions()


@dataclass(frozen=True)
class Half(HSNet):
    """HSNet's test with other values."""

    episodes: dict = field(default_factory=lambda: {"others": 500})


def test_values_of_a_file_are_followed():
    stated = Half("half", 1, "", seed=7, query_size=1024, void="background").conditions("pascal")
    assert (stated.episodes_per_fold, stated.seeds) == ("500", "7")
    assert (stated.compared_at, stated.void) == ("fixed 1024", "background")
