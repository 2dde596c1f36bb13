"""The facts of a training, as records and checkpoints hold them."""

import hashlib
from types import SimpleNamespace as Plain

import pytest

from fsbench.base.files import fingerprint
from fsbench.core.needs import Needs
from fsbench.data.episodes.task import Task
from fsbench.datamodules.datasets.folder import Folder
from fsbench.protocols.reading import load_protocol
from fsbench.protocols.whole_images import WHOLE_IMAGES
from fsbench.records.run import Identity
from fsbench.runner.engine.identity import _training
from fsbench.runner.engine.origins import training_facts


@pytest.fixture
def experiment(blocks_folder):
    """experiment(whole) -> a run that trains, whose checkpoint is chosen on 24 episodes or on all 24 test images."""
    dataset = Folder(str(blocks_folder))

    def make(whole: bool, trains: bool = True):
        drawn = load_protocol("fscs").manifest(dataset, Task(0, episodes=24))
        manifest = WHOLE_IMAGES.manifest(dataset, Task(0)) if whole else drawn
        identity = Identity.model_validate({
            "training": {"max_epochs": 2, "batch_size": 4}, "method": {"name": "m"}, "precision": 32, "tf32": False,
            "backbone": {"name": "b", "weights": "w"}, "manifest_sha256": "0", "all_files_sha256": "0",
        })  # fmt: skip
        data = Plain(image_size=128, validation_manifest=manifest, validates=True)
        return Plain(data=data, identity=identity, trains=trains, checkpoint_weights={})

    return make


@pytest.mark.parametrize(("whole", "official"), [(False, 1000), (True, None)])
def test_facts_of_a_training_on_episodes_and_on_whole_images(experiment, whole, official):
    assert training_facts(experiment(whole)) == {
        "image_size": 128, "precision": "32", "tf32": False, "settings": {"max_epochs": 2, "batch_size": 4},
        "method": {"name": "m"}, "chosen_by": "val/mIoU", "episodes": 24, "official_episodes": official,
    }  # fmt: skip


def test_facts_of_a_training_that_keeps_its_last_weights(experiment):
    run = experiment(False)
    run.data = Plain(image_size=128, validates=False)  # which has no episodes to choose by
    facts = training_facts(run)
    assert (facts["chosen_by"], facts["episodes"], facts["official_episodes"]) == ("last", None, None)


def test_a_checkpoint_that_is_calibrated_has_the_base_classes_in_its_identity(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"x")
    data = Plain(training_lists="derived", training_pool=Plain(pairs=[("a", 1)]), base_files_sha256="1")
    given = {"checkpoint": tmp_path / "x.ckpt", "training_settings": {}, "data": data}
    kinds = [Plain(learns=True, needs=Needs(calibration=also)) for also in (False, True)]
    found = [_training(Plain(method=kind, **given)) for kind in kinds]
    assert found[0] == {"checkpoint_sha256": hashlib.sha256(b"x").hexdigest()}
    assert found[1] == found[0] | {
        "base_lists": "derived", "base_files_sha256": "1", "base_classes_sha256": fingerprint([("a", 1)])
    }  # fmt: skip
