"""One checkpoint of HMNet tested again as the paper does: other seeds, more episodes, without the base learner."""

import pytest
import torch

from fsbench.cli.main import main
from fsbench.core.released_format import WRITTEN_BY
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.records.record import find_records
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.cli.commands import images_of
from tests.config_words import parse_run, settings_file

SMALL = ["--model.width=8", "--model.feature_side=8", "--model.states=2", "--data.loading.workers=0"]


@pytest.mark.slow(3)
def test_one_checkpoint_under_several_test_seeds(small_demo, tmp_path):
    """Nothing is trained; the episodes differ, the checkpoint and the rest of what a run is do not."""
    extra = [*images_of(small_demo), *SMALL]
    method = parse_run(RunConfig("hmnet", "demo", fold=0, protocol="pfenet", extra=extra)).model
    checkpoint = tmp_path / "best.ckpt"
    torch.save({"state_dict": method.state_dict(), WRITTEN_BY: method.describe()}, checkpoint)
    common = dict(runs=str(tmp_path), protocol="pfenet", checkpoint=str(checkpoint))
    for seed in (0, 321):
        request = RunConfig("hmnet", "demo", fold=0, test_seed=seed, **common, extra=[*extra, "--data.test.episodes=3"])
        assert main(["bench", settings_file(request.values, tmp_path)]) == 0
    records = find_records(tmp_path)
    assert len({record.manifest.sha256 for record in records}) == len(records) == 2
    assert {record.manifest.header.seed for record in records} == {0, 321}
    identities = [record.run.identity.as_json() for record in records]
    for identity in identities:
        del identity["manifest_sha256"], identity["files_sha256"]
    assert identities[0] == identities[1] and set(identities[0]["training"]) == {"checkpoint_sha256"}
    assert not list(tmp_path.glob("*/checkpoints"))


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
