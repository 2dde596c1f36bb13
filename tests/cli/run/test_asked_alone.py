"""`--asked-alone`: a run whose method remembers others fails by its episodes; records say how many were asked."""

import re

import pytest

from fsbench.records.record import find_records

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
    assert re.search(r"remembers answers [34] of 4 episodes otherwise in the test than alone: \d, \d", found.stderr)
    assert not find_records(tmp_path / "runs")
    assert warm(*arguments).returncode == 0, "which nobody asks for"
    late = warm(*arguments, "--asked-alone", "4")
    assert late.returncode == 0 and "with 0 episodes asked alone instead of 4; --force repeats the run" in late.stderr


@pytest.mark.slow(40)
@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("prototype", ("--devices", "2", "--keep-predictions", "soft")),
        ("nn", ()),
    ],
)
def test_other_methods_pass_and_their_records_say_so(warm, bench_arguments, tmp_path, method, more):
    data = ("--dataset", "demo-cls", "--data.test.episodes", "5") if method == "nn" else ()
    arguments = ["bench", "--method", method, *data] if data else bench_arguments(method, "asked")
    done = warm(*arguments, *more, "--runs", "asked", "--asked-alone", "3")
    assert done.returncode == 0, done.stderr
    plain = warm(*arguments, *more, "--runs", "plain")
    assert plain.returncode == 0, plain.stderr
    (asked,), (other,) = (find_records(tmp_path / name) for name in ("asked", "plain"))
    assert (asked.run.asked_alone, other.run.asked_alone) == (3, 0)
    assert asked.path.name == other.path.name and asked.run.counts_sha256 == other.run.counts_sha256
    assert "3 episodes were asked alone as well, and answered alike" in done.stdout + done.stderr
