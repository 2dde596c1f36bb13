"""A data option of one's own is a field of a dataclass in one file: the command line and records know it."""

from hashlib import sha256

import pytest

from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.cli.commands import images_of
from tests.config_words import config_words

CODE = '''"""The episodic test in the rain."""

from dataclasses import dataclass

from fsbench.datamodules.options import EpisodicTest
from fsbench.data.dataset import SegmentationData
from fsbench.datamodules.episodic import EpisodicDataModule


@dataclass(frozen=True)
class RainyTest(EpisodicTest):
    """Options of the test; rain is the share of query pixels that are wet."""

    rain: float = 0.0


class Rainy(EpisodicDataModule):
    """Episodes in the rain."""

    def __init__(self, dataset: SegmentationData, test: RainyTest = RainyTest(), **others):
        super().__init__(dataset, test, **others)
'''


@pytest.mark.slow(3)
def test_a_field_is_a_key_and_part_of_a_run_s_identity(command, monkeypatch, small_demo, tmp_path):
    (tmp_path / "rainy.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def run(*more: str) -> RunConfig:
        extra = [*images_of(small_demo), *more]
        return RunConfig("prototype", "demo", fold=0, runs=str(tmp_path / "runs"), extra=extra)

    plain, default, rainy = (
        Experiment(run(*more).parse())
        for more in ([], ["--data=rainy.Rainy"], ["--data=rainy.Rainy", "--data.test.rain=0.5"])
    )
    code = {"own_modules": {"rainy": sha256(CODE.encode()).hexdigest()[:12]}}
    dataset = plain.identity.as_json()["dataset"] | code
    assert default.identity.as_json() == plain.identity.as_json() | {"dataset": dataset}  # a default is not named
    assert rainy.identity.as_json() == default.identity.as_json() | {"rain": 0.5}
    assert "rain: 0.5" in rainy.config_text
    for wrong, said in (
        ("--data.test.rian=0.5", "did you mean --data.test.rain?"),
        ("--data.test.rain=much", "data.test.rain: expected a number; found much"),
    ):
        status, _, err = command("bench", *config_words(run("--data=rainy.Rainy", wrong)))
        assert status == 2 and said in err, err
