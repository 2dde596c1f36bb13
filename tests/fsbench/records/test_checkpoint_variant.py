"""Whether an authors' checkpoint states its variant is told by the experiment."""

import json

import torch

from fsbench.methods.cst import cst_learner
from fsbench.networks.backbones.timm_networks import VITS, random_state
from fsbench.records.run import ON_TRUST, STATED_VARIANT
from fsbench.runner.config.run_config import RunConfig
from fsbench.runner.engine.experiment import Experiment
from tests.config_words import parse_run


def test_the_run_says_whether_the_variant_is_stated(tmp_path, blocks_folder):
    """CST on an authors' checkpoint of the demo's ViT, with a config.yaml beside it and without."""
    learned = {f"learner.{k}": v for k, v in cst_learner(24, 12).state_dict().items()}
    frozen = {f"backbone.{k}": v for k, v in random_state(VITS["demo"], 7).items()}
    torch.save({"state_dict": learned | frozen}, tmp_path / "best.ckpt")
    data = ["--data.dataset=fsbench.datamodules.datasets.folder.Folder", f"--data.dataset.root={blocks_folder}"]
    checkpoint = str(tmp_path / "best.ckpt")
    request = RunConfig("cst", "demo", fold=0, runs=str(tmp_path / "runs"), checkpoint=checkpoint, extra=data)
    assert Experiment(parse_run(request)).checkpoint_variant == ON_TRUST
    stated = {"DATA": {"IMG_SIZE": 128}, "METHOD": {"NAME": "CST", "SUPPORT_DIM": 145}}
    (tmp_path / "config.yaml").write_text(json.dumps(stated))
    assert Experiment(parse_run(request)).checkpoint_variant == STATED_VARIANT
