"""One checkpoint of HMNet tested again as the paper does: with more episodes, and without the base learner."""

import pytest
import torch

from fsbench.core.released_format import WRITTEN_BY
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse_run

SMALL = ["--model.width=8", "--model.feature_side=8", "--model.states=2", "--data.loading.workers=0"]


def test_pfenets_episodes_beyond_its_own_number(small_demo):
    data, protocol = Folder(str(small_demo)), load_protocol("pfenet")
    few, many = (protocol.manifest(data, Task(0, episodes=n, empty=False, seed=0)) for n in (1000, 2000))
    assert len(many.episodes) == 2000 and [episode.number for episode in many.episodes] == list(range(2000))
    assert len(few.episodes) == 1000 and few.sha256 != many.sha256


@pytest.mark.slow(3)
def test_a_record_says_that_the_base_learner_was_left_out(small_demo, tmp_path):
    extra = [f"--data.dataset.root={small_demo}", "--model.backbone.name=pspnet_vgg16", "--data.image_size=65", *SMALL]
    request = dict(dataset="folder", fold=0, weights="random")
    method = parse_run(RunConfig("hmnet", **request, extra=extra)).model
    torch.save({"state_dict": method.state_dict(), WRITTEN_BY: method.describe()}, tmp_path / "best.ckpt")
    found = []
    for bam in ("true", "false"):
        own = RunConfig(
            "hmnet", **request, checkpoint=str(tmp_path / "best.ckpt"), extra=[*extra, f"--model.bam={bam}"]
        )
        found.append(Experiment(parse_run(own)).identity.training)
    assert set(found[0]) == {"checkpoint_sha256"} and found[1] == found[0] | {"trained_with": {"bam": True, "shots": 1}}
