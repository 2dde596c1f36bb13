"""The examples of a Trainer by hand run as printed."""

import re

import pytest

from fsbench.base.paths import IS_CLONE, REPOSITORY

pytestmark = pytest.mark.skipif(not IS_CLONE, reason="the manual is a clone's")


def run_example(page: str, mark: str) -> dict:
    """Run the one block of Python of a page that holds `mark`, and return its names."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (REPOSITORY / "docs" / page).read_text(), re.DOTALL | re.MULTILINE)
    (block,) = (block for block in blocks if mark in block)
    names: dict = {"__name__": "example"}
    exec(block, names)
    return names


@pytest.fixture
def folder(tmp_path, monkeypatch, clones_data):
    (tmp_path / "data").symlink_to(clones_data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow(40)
def test_the_best_checkpoint_of_the_guides_training_is_tested(folder):
    names = run_example("guides/lightning.md", "ModelCheckpoint")
    best, scores = names["best"], names["scores"]
    assert (folder / "checkpoints/best.ckpt").is_file()
    assert best.mode == "max" and 0 < float(best.best_model_score) < 100
    assert 0 < scores["test/mIoU"] < 100
    assert names["trainer"].global_step == 8 and names["method"].total_steps == 8


@pytest.mark.slow(20)
def test_the_references_example_logs_scores_and_predicts(folder):
    names = run_example("reference/python.md", "L.Trainer()")
    assert names["scores"][0]["test/mIoU"] > 0
    answers = [answer for batch in names["answers"] for answer in batch]
    assert sorted(answer["episode"] for answer in answers) == list(range(20))
