"""`--asked-alone`: a run whose method remembers others fails by its episodes; records say how many were asked."""

import re

import pytest

from fsbench.records.record import find_records
from tests.cli.commands import FEW, run_command

REMEMBERS = """
import torch

from fsbench.core.prediction import Prediction
from fsbench.core.segmenter import Segmenter
from fsbench.networks.backbones.base import NoBackbone


class Remembers(Segmenter):
    '''Answers with the support mask of the episode before.'''

    backbone_type = NoBackbone
    learns = False
    predicts_presence = False
    last = None

    def forward(self, episode):
        size = tuple(episode.query_sizes[0].tolist())
        mask = torch.zeros(size) if self.last is None else self.last
        self.last = episode.support_masks[0, 0, 0].float()
        found = torch.nn.functional.interpolate(mask[None, None], size)[0, 0]
        return Prediction((found > 0.5).long())
"""


@pytest.mark.slow(15)
def test_a_method_that_remembers_fails(warm, bench_arguments, tmp_path):
    (tmp_path / "mine.py").write_text(REMEMBERS)
    arguments = bench_arguments("mine.py:Remembers", "runs", "--data.image_size=64")
    found = warm(*arguments, "--asked-alone", "4")
    assert found.returncode == 1, found.stderr
    assert re.search(r"remembers answers [34] of 4 episodes differently alone than in the test: \d, \d", found.stderr)
    assert not find_records(tmp_path / "runs")
    assert warm(*arguments).returncode == 0, "which nobody asks for"
    late = warm(*arguments, "--asked-alone", "4")
    assert late.returncode == 0 and "with 0 episodes asked alone instead of 4; --force repeats the run" in late.stderr


@pytest.mark.slow(15)
def test_other_methods_pass_and_their_records_say_so(warm, tmp_path):
    arguments = ["bench", "--method", "nn", "--dataset", "demo-cls", "--data.test.episodes", "5"]
    done = warm(*arguments, "--runs", "asked", "--asked-alone", "3")
    assert done.returncode == 0, done.stderr
    assert warm(*arguments, "--runs", "plain").returncode == 0
    check_records(tmp_path, done.stdout + done.stderr)


@pytest.mark.slow(15)
def test_two_processes_ask_alone_as_well(finish, warm, small_demo, tmp_path):
    for name, more in (("asked", ["--run.asked_alone=3"]), ("plain", [])):
        options = [*FEW, "--run.keep_predictions=soft", *more]
        finish(run_command("prototype", tmp_path / name, small_demo, *options, devices=2), 2)
    check_records(tmp_path, warm("table", "asked", "--all").stdout)


def check_records(folder, said):
    """The run that asked, and said so, has the name and the counts of the plain one."""
    (asked,), (other,) = (find_records(folder / name) for name in ("asked", "plain"))
    assert (asked.run.asked_alone, other.run.asked_alone) == (3, 0)
    assert asked.path.name == other.path.name and asked.counts_sha256 == other.counts_sha256
    assert "3 episodes were also asked alone, with equal answers" in said
