"""One function of somebody else's through two doors: `evaluate`, and `bench` as a class in a file.

`test_a_foreign_program` of `tests/cli/test_kit.py` has the third, a kit's file.
"""

import runpy
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.records.record import Record, find_records
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate

SIDE = 128
"""Side of all images, so that every door shows the same pixels."""

CODE = """
import numpy as np
import torch

from fsbench.networks.backbones.base import NoBackbone
from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter

def near(query, supports):
    '''Label pixels of a colour near that of the labelled ones of a way's image.'''
    found = np.zeros(query.shape[:2], np.uint8)
    for way, (image, mask) in enumerate(supports, 1):
        colour = image[mask == 1].mean(0)
        found[np.abs(query.astype(int) - colour).sum(-1) < 90] = way
    return found

class Near(Segmenter):
    backbone_type = NoBackbone
    learns = False
    predicts_presence = False

    def forward(self, episode):
        pixels = episode.images.permute(0, 2, 3, 1).cpu().numpy()
        shots = zip(episode.support[0, :, 0].tolist(), episode.support_labels[0, :, 0].cpu().numpy())
        found = near(pixels[int(episode.query[0])], [(pixels[row], mask) for row, mask in shots])
        return Prediction(torch.from_numpy(found))
"""


@pytest.fixture(scope="module")
def squares(small_demo, tmp_path_factory) -> Path:
    """The generated data set, every image a square of `SIDE`."""
    root = Path(shutil.copytree(small_demo, tmp_path_factory.mktemp("data") / "squares"))
    for file in root.rglob("*.*g"):
        with Image.open(file) as image:
            square = image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
        square.save(file)
    return root


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def by_bench(file: Path, squares: Path, runs: Path) -> Record:
    """Run the class by the command line's own function."""
    words = [
        "bench", "--method", f"{file}:Near", "--dataset", "demo", "--runs", str(runs), "--way", "2",
        "--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={squares}",
        f"--data.image_size={SIDE}", "--data.test.episodes=12", "--data.loading.workers=0", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    assert main(words) == 0
    (record,) = find_records(runs)
    return record


@pytest.mark.slow(10)
def test_a_function_counts_as_its_class_does(file, squares, tmp_path, capsys):
    near = runpy.run_path(str(file))["near"]
    benched = by_bench(file, squares, tmp_path / "benched")
    assert 5 < benched.scores["mIoU"] < 100 and benched.run.presence == "any_pixel"

    def function(episode):
        return near(episode.query, [(shot.image, shot.mask) for (shot,) in episode.supports])

    test = load_test("folder", root=squares, way=2, episodes=12)
    evaluated = evaluate(function, test, name="mine", runs=tmp_path / "runs", progress=False).record

    assert evaluated.every_episode.equals(benched.every_episode)
    assert evaluated.scores == benched.scores and evaluated.run.presence == benched.run.presence
    assert evaluated.manifest_sha256 == benched.manifest_sha256
