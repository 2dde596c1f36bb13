"""iSAID-5i by three programs: drawn folders in the true layouts, and where a padded image is counted."""

import numpy as np
import pytest

from fsbench.base.errors import SettingsError
from fsbench.data.episodes.task import Task
from fsbench.data.label_maps import resize_labels_padded
from fsbench.data.truth import EpisodeTruth
from fsbench.datamodules.datasets.isaid import Isaid
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.view import View
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from fsbench.scores.answers import SegmentationAnswer
from tests.datamodules.datasets.test_isaid import save_large_patches, save_patches


@pytest.mark.slow(2)
def test_r2nets_test_is_on_patches_of_512(tmp_path):
    shown = {f"P{n:02d}{copy}_0_512_0_512": {n: 40 + 5 * copy} for n in range(1, 16) for copy in range(2)}
    save_large_patches(tmp_path / "iSAID", "val", shown)
    small = [
        "--data.image_size=64",
        "--data.loading.workers=0",
        f"--data.dataset.root={tmp_path}",
        "--data.test.episodes=10",
    ]
    request = RunConfig("prototype", "isaid512", fold=0, runs=str(tmp_path / "runs"), backbone="demo", extra=small)
    data = Experiment(request.parse()).data
    header = data.manifest.header
    assert header.protocol == "isaid_r2net"
    assert header.seed == 538 and [e.query for e in data.manifest.episodes] == sorted(shown)[:10]
    truths = [batch.known_truth().label_maps[0] for batch in data.test_dataloader()]
    assert {(*truth.shape, int((truth == 255).sum())) for truth in truths} == {(512, 512, 512)}


def test_a_padded_image_is_counted_where_the_image_is():
    """The counts are those of the whole square whose padding is void, and the label map lies over the image."""
    protocol = load_protocol("isaid_r2net")
    labels = np.zeros((30, 90), np.uint8)
    labels[10:20, 20:70], labels[28:] = 1, 255
    truth, size = View("padded", "input").truth(labels, 67)
    assert size == (67, 67) and truth.shape == (16, 64)  # 67 * 30 / 90 = 22, then multiples of 8
    kept, _ = View("padded", "original").training.truth(labels, 67)
    assert np.array_equal(kept, resize_labels_padded(labels, 67)) and (kept[16:] == 255).all()
    found = np.ones((67, 67), dtype=np.uint8)

    here = EpisodeTruth(0, size, truth, np.array([True]), np.array([1]))
    result = protocol.count(SegmentationAnswer(found), here)
    assert result.label_map.shape == (16, 64)
    tp, pred, gt = result.counts[1, :3].tolist()
    assert (tp, pred, gt) == ((truth == 1).sum(), (truth != 255).sum(), (truth == 1).sum())
    with pytest.raises(SettingsError, match="gave a mask of \\(16, 64\\), expected \\(67, 67\\)"):
        protocol.count(SegmentationAnswer(found[:16, :64]), here)


def test_the_test_of_the_program_is_shown_by_accuracy_too():
    assert load_protocol("isaid_sdm").default_metrics == ("mIoU", "accuracy")


def test_patches_of_the_test_part_alone_are_not_trained_on(tmp_path):
    shown = {f"P{number:04d}{copy}": [number] for number in range(1, 16) for copy in range(2)}
    data = Isaid(str(save_patches(tmp_path, shown)))
    with pytest.raises(SettingsError, match="has its test part alone"):
        load_protocol("isaid").training_pool(data, Task(0))
    task = Task(0, episodes=3)
    assert [e.query_class for e in load_protocol("isaid").manifest(data, task).episodes] == [1, 1, 2]
