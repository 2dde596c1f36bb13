"""The weights that come with the repository fit the ViT they are said to fit."""

import torch
from safetensors import safe_open

from fsbench.backbones.timm_networks import VisionTransformer
from fsbench.backbones.vit import DEMO_IMAGE_SIZE, DEMO_VIT, DEMO_WEIGHTS


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
