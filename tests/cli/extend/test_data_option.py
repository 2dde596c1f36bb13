"""A data option of one's own is a field of a dataclass in one file: the command line and records know it."""

import json

import pytest

from fsbench.base.paths import REPOSITORY
from tests.cli.commands import run_command
from tests.cli.conftest import FEW

pytestmark = pytest.mark.slow

CODE = '''"""The episodic test in the rain."""

from dataclasses import dataclass

from fsbench.core.data_options import EpisodicTest
from fsbench.data.dataset import SegmentationIndex
from fsbench.datamodules.episodic import EpisodicDataModule


@dataclass(frozen=True)
class RainyTest(EpisodicTest):
    """Options of the test; rain is the share of query pixels that are wet."""

    rain: float = 0.0


class Rainy(EpisodicDataModule):
    """Episodes in the rain."""

    def __init__(self, dataset: SegmentationIndex, test: RainyTest = RainyTest(), **others):
        super().__init__(dataset, test, **others)
'''


def test_a_field_is_a_key_and_part_of_a_run_s_identity(fsbench, small_demo, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "rainy.py").write_text(CODE)
    path = {"PYTHONPATH": f"{REPOSITORY}:{tmp_path / 'site'}"}

    def run(*words: str):
        return fsbench(*run_command("prototype", "runs", small_demo, *FEW, *words), **path)

    for words in ([], ["--data=rainy.Rainy"], ["--data=rainy.Rainy", "--data.test.rain=0.5"]):
        done = run(*words)
        assert done.returncode == 0, done.stderr
    records = [json.loads(file.read_text()) for file in tmp_path.glob("runs/*/run.json")]
    plain, rainy = sorted((record["identity"] for record in records), key=lambda identity: "rain" in identity)
    assert rainy == plain | {"rain": 0.5}  # a default leaves the identity as it is: the second run found the first
    settings = next(tmp_path.glob("runs/*/run.json")).parent
    assert "rain" in "".join(file.read_text() for file in settings.parent.rglob("*.yaml"))

    refused = run("--data=rainy.Rainy", "--data.test.rian=0.5")
    assert refused.returncode == 2 and "did you mean --data.test.rain?" in refused.stderr, refused.stderr
    refused = run("--data=rainy.Rainy", "--data.test.rain=much")
    assert refused.returncode == 2 and "data.test.rain: expected a number; found much" in refused.stderr, refused.stderr
