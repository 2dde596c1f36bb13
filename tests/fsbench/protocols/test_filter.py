"""Training lists with and without the images that show a novel class (bam.md §8, pfenet-method.md §5)."""

from pathlib import Path

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.dataset import SegmentationData
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.coco.dataset import Coco
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.protocols.draws.whole_images import whole_image_pool
from fsbench.protocols.reading import load_protocol
from fsbench.runner.config.run_config import RunConfig
from tests.config_words import config_words

LISTED = ("fscs", "hsnet", "incontext", "pfenet", "bam", "pfenet2020")


class Synthetic(SegmentationData):
    """Twelve images of two classes in each of two folds, with the rules of a published data set.

    Image i shows class 1 + i mod 2 with 3000 pixels, and the other class of the fold with 3000, or with 900 in every
    third image. Image 23 also shows 30 pixels of a class of the other fold.
    """

    folds = 2
    class_names = ("a", "b", "c", "d")

    def __init__(self, like: type[SegmentationData]):
        self.name = like.name
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
        if i == 23:
            labels[99, :30] = 1
        return labels


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("like", [Pascal, Coco])
def test_one_novel_pixel_suffices_and_every_protocol_has_both_lists(name, like):
    """im23 shows 30 pixels of a novel class beside base ones, too few to be listed for it."""
    protocol, data = load_protocol(name), Synthetic(like)
    own, filtered, whole = (protocol.draw.training_pairs(data, 0, choice) for choice in (None, True, False))
    assert [pair for pair in whole.pairs if pair[0] == "im23"] and set(filtered.pairs) < set(whole.pairs)
    assert [pair for pair in whole.pairs if pair[0] != "im23"] == list(filtered.pairs)
    assert own.pairs == (filtered if protocol.draw.filter_novel else whole).pairs
    pools = [protocol.training_pool(data, Task(0, empty=False), choice) for choice in (True, False)]
    assert [("im23" in pool.images, "im23" in pool.images_of[3]) for pool in pools] == [(False, False), (True, True)]
    tested = {protocol.draw.pairs(data, "val", 0).sha256 for _ in (True, False)}
    assert tested == {protocol.draw.pairs(Synthetic(like), "val", 0).sha256}


def test_whole_images_can_be_filtered():
    data = Synthetic(Pascal)
    whole, filtered = (whole_image_pool(data, 0, choice).images for choice in (None, True))
    assert len(whole) == 24 and filtered == [f"im{i:02d}" for i in range(12, 23)]


def test_an_option_sets_it():
    def given(word):
        return [text for text in config_words(RunConfig("emat", "demo", filter_novel=word)) if "filter_novel" in text]

    assert (given("1"), given("0"), given(None)) == (
        ["--data.training.filter_novel=true"],
        ["--data.training.filter_novel=false"],
        [],
    )
    with pytest.raises(SettingsError, match=r"FILTER_NOVEL \(--filter-novel\) is 'perhaps', expected 1 or 0"):
        given("perhaps")
