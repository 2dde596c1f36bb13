"""Whether an authors' checkpoint states its variant: told by the experiment, and by the notes under a table."""

import json

import pytest
import torch

from fsbench.base.errors import CheckpointError
from fsbench.methods.cst import cst_learner
from fsbench.networks.backbones.timm_networks import VITS, random_state
from fsbench.records.description import ON_TRUST, STATED_VARIANT, all_notes
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.fsbench.runs import changed


@pytest.fixture
def experiment(tmp_path, blocks_folder):
    """experiment(stated, ...) -> CST on an authors' checkpoint of the demo's ViT, with this config.yaml beside it."""

    def build(stated, *extra):
        learned = {f"learner.{k}": v for k, v in cst_learner(24, 12).state_dict().items()}
        frozen = {f"backbone.{k}": v for k, v in random_state(VITS["demo"], 7).items()}
        torch.save({"state_dict": learned | frozen}, tmp_path / "best.ckpt")
        (tmp_path / "config.yaml").write_text(stated) if stated else (tmp_path / "config.yaml").unlink(missing_ok=True)
        given = [
            "--data.dataset=fsbench.datamodules.datasets.folder.Folder",
            f"--data.dataset.root={blocks_folder}",
            *extra,
        ]
        request = RunConfig(
            "cst", "demo", 0, str(tmp_path / "runs"), checkpoint=str(tmp_path / "best.ckpt"), extra=given
        )
        return Experiment(request.parse())

    return build


def test_the_run_says_whether_the_variant_is_stated(experiment):
    stated = json.dumps({"DATA": {"IMG_SIZE": 128}, "METHOD": {"NAME": "CST", "SUPPORT_DIM": 145}})
    assert experiment(stated).checkpoint_variant == STATED_VARIANT
    assert experiment(None).checkpoint_variant == ON_TRUST
    with pytest.raises(CheckpointError, match=r"image_size 700, as its config\.yaml states; expected 128"):
        experiment(stated.replace("128", "700"))
    with pytest.raises(CheckpointError, match=r"support_side 12.*expected 18.*give --model\.support_side 12"):
        experiment(stated, "--model.support_side=18")


def test_a_table_notes_what_is_taken_on_trust(make):
    record = make("cst", 0)
    for variant, count in ((ON_TRUST, 1), (STATED_VARIANT, 0), (None, 0)):
        lines = all_notes([changed(record, checkpoint_variant=variant)])
        assert sum("does not state its variant" in line for line in lines) == count
    assert all_notes([record]) == lines  # of a record without the entry
