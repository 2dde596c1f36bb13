"""The weights that come with the repository fit the ViT they are said to fit."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from fsbench.base.errors import CheckpointError
from fsbench.networks.backbones.base import BackboneConfig
from fsbench.networks.backbones.timm_networks import DEMO_IMAGE_SIZE, DEMO_VIT, DEMO_WEIGHTS, FrozenViT


def test_weights_are_small_and_load_strictly() -> None:
    assert DEMO_WEIGHTS.stat().st_size <= 4_000_000
    with safe_open(DEMO_WEIGHTS, "pt") as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        metadata = file.metadata()
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert metadata["seed"] == "0"
    assert metadata["classes"].startswith("101-200")
    assert float(metadata["patch_accuracy"]) > 0.5
    model = VisionTransformer(**DEMO_VIT, img_size=DEMO_IMAGE_SIZE, num_classes=0)
    model.load_state_dict({key: value.float() for key, value in state.items()})


def test_weights_that_are_exchanged_before_they_are_read_are_refused(tmp_path: Path) -> None:
    """The run's name says which they were; who touches the file changes nothing."""
    file = shutil.copy(DEMO_WEIGHTS, tmp_path / "weights.safetensors")
    touched, exchanged = (FrozenViT(BackboneConfig("demo", str(file))) for _ in range(2))
    os.utime(file, (1, 1))
    assert len(touched.state) > 50
    save_file({key: value + 1 for key, value in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match=r"weights.safetensors is another file than a moment ago, when the run"):
        exchanged.state  # noqa: B018
