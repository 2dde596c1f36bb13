"""The truth of an episode is the loader's, and reading and counting it needs neither torch nor OpenCV."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.coco import Coco
from fsbench.datamodules.datasets.folder import Folder
from fsbench.datamodules.datasets.pascal import Pascal
from fsbench.datamodules.loading.items import LoadingConfig, load_item
from fsbench.protocols.episode_rules.streams import loader_seeds, torch_permutation
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.test import Test
from fsbench.protocols.whole_images import WHOLE_IMAGES
from tests.data_modules import episodic


def same_truth(truth, batch):
    (expected,) = batch.truths()
    assert truth.episode == expected.episode and truth.size == expected.size
    for name in ("label_map", "presence", "classes"):
        found, other = getattr(truth, name), getattr(expected, name)
        assert found.dtype == other.dtype and np.array_equal(found, other), name


@pytest.fixture(scope="module")
def opened(real_data, blocks_folder):
    return {
        "pascal": Pascal(str(real_data / "voc-mini")),
        "coco": Coco(str(real_data / "coco-mini")),
        "folder": Folder(str(blocks_folder)),
    }


@pytest.mark.parametrize(
    ("protocol", "dataset"),
    [
        *((name, "pascal") for name in ("fscs", "hsnet", "pfenet", "bam", "gfss", "bam_gfss", "fss_sam3")),
        pytest.param("presence", "pascal", marks=pytest.mark.slow(1)),
        *((name, "coco") for name in ("fssdino", "fss_sam3", "incontext", "hsnet")),
        ("isaid_r2net", "folder"),
        ("cdfss", "folder"),
    ],
)
def test_the_truth_of_an_episode_is_the_loaders(protocol, dataset, opened):
    module = episodic(opened[dataset], protocol, image_size=49, workers=0, episodes=6, drop_small=True)
    batches = list(module.test_dataloader())
    assert batches
    for batch in batches:
        same_truth(module.tested.truth(int(batch.episodes[0])), batch)


def test_the_truth_of_a_whole_image_is_the_loaders(blocks_folder):
    data = Folder(str(blocks_folder))
    protocol = WHOLE_IMAGES
    test = Test(protocol.manifest(data, Task(0, episodes=4)), data, protocol, 49)
    config = LoadingConfig(49, protocol.view)
    for episode in test.manifest.episodes:
        item = load_item(protocol.draw, data, episode, config, config.files(data))
        same_truth(test.truth(episode.number), item)


def test_a_count_and_a_notebooks_view_import_neither_torch_nor_opencv(blocks_folder):
    code = f"""
import sys
import fsbench
import numpy as np
from fsbench.datamodules.datasets.folder import Folder
from fsbench.data.episodes.task import Task
from fsbench.scores.answers import SegmentationAnswer
from fsbench.protocols.reading import load_protocol
from fsbench.records.counts import to_frame
index = Folder({str(blocks_folder)!r})
for name in ("fscs", "bam", "isaid_r2net", "cdfss"):
    protocol = load_protocol(name)
    manifest = protocol.manifest(index, Task(0, episodes=3))
    rows = []
    for episode in manifest.episodes:
        truth = protocol.view.episode_truth(index, episode, 48)
        answer = SegmentationAnswer(np.ones(truth.size, np.uint8))
        rows += protocol.count(answer, truth).rows()
    protocol.statistics(to_frame(rows, manifest), manifest.header).scores()
test = fsbench.load_test("folder", root={str(blocks_folder)!r}, protocol="pfenet", episodes=1)
assert test._repr_html_().count("<img") == 2
sys.exit(", ".join({{"torch", "cv2", "lightning", "torchmetrics"}} & {{*sys.modules}}) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("seed", [0, 1, 321, (1 << 32) - 1])
def test_draws_of_the_authors_loaders_are_torchs(seed):
    generator = torch.Generator().manual_seed(seed)
    expected = [int(torch.empty((), dtype=torch.int64).random_(generator=generator)) for _ in range(300)]
    assert list(islice(loader_seeds(seed), 300)) == expected
    for length in (1, 2, 17, 5953):
        expected = torch.randperm(length, generator=torch.Generator().manual_seed(seed)).tolist()
        assert torch_permutation(length, seed) == expected


def test_classification_counts_answers_in_the_order_of_the_queries(tmp_path):
    from tests.datamodules.test_classification import photos

    data, protocol = photos(tmp_path), load_protocol("fort")
    from fsbench.data.episodes.task import ClassificationTask

    (episode,) = protocol.manifest(data, ClassificationTask(way=3, shot=1, queries=4, episodes=1)).episodes
    truth = protocol.counting.truth(episode)
    answer = np.repeat(np.arange(3), 4)[protocol.counting.query_order(episode)]  # as the queries are shown
    assert [row["tp"] for row in protocol.count(answer, truth).rows()] == [4, 4, 4]
    assert truth.classes == tuple(number + 1 for number in episode.classes)
