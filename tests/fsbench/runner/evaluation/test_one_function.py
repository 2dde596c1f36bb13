"""One function of somebody else's through three doors: `evaluate`, a kit's file, and `bench` as a class in a file."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsbench.cli.main import main
from fsbench.datamodules.datasets.demo.dataset import drawn_dataset
from fsbench.protocols.kit.answers import Answers
from fsbench.protocols.kit.kit import read_kit, write_kit
from fsbench.records.record import Record, find_records
from fsbench.runner.config.tests import load_test
from fsbench.runner.evaluation.evaluate import evaluate
from fsbench.runner.evaluation.kit_test import load_kit_test

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
def squares(tmp_path_factory) -> Path:
    """The generated data set, every image a square of `SIDE`."""
    root = tmp_path_factory.mktemp("data") / "squares"
    drawn_dataset(seed=3, train=60, val=60).make(root)
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
def test_a_function_counts_alike_through_every_door(file, squares, tmp_path, capsys):
    near = runpy.run_path(str(file))["near"]
    benched = by_bench(file, squares, tmp_path / "benched")
    assert 5 < benched.run.scores["mIoU"] < 100 and benched.run.presence == "any_pixel"

    def function(episode):
        return near(episode.query, [(shot.image, shot.mask) for (shot,) in episode.supports])

    test = load_test("folder", root=squares, way=2, episodes=12)
    evaluated = evaluate(function, test, name="mine", runs=tmp_path / "runs", progress=False).record

    kit, root = write_kit(test, tmp_path / "kit", dataset="folder")
    with Answers(tmp_path / "mine.fsa", tmp_path / "kit") as answers:
        for line in (tmp_path / "kit" / "episodes.jsonl").read_text().splitlines():
            episode = json.loads(line)
            query = np.asarray(Image.open(root / episode["query"]["image"]))
            shots = [shot for (shot,) in episode["supports"]]
            pairs = [(Image.open(root / shot["image"]), Image.open(tmp_path / "kit" / shot["mask"])) for shot in shots]
            answers.add(episode["number"], near(query, [tuple(map(np.asarray, pair)) for pair in pairs]))
    words = ["score", tmp_path / "mine.fsa", "--kit", tmp_path / "kit", "--data-root", squares, "--name", "mine"]
    assert main([*map(str, words), "--runs", str(tmp_path / "scored")]) == 0
    (scored,) = find_records(tmp_path / "scored")

    assert scored.run.id == evaluated.run.id  # the very answers
    assert load_kit_test(read_kit(tmp_path / "kit"), root=squares).manifest.sha256 == kit.test
    for record in (evaluated, scored):
        assert record.every_episode.equals(benched.every_episode)
        assert record.run.scores == benched.run.scores and record.run.presence == benched.run.presence
        assert record.manifest_sha256 == benched.manifest_sha256
