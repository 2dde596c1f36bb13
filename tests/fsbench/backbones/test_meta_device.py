"""Networks without values have the names and shapes of those with them, and need no compiler."""

import os
import subprocess
import sys

import pytest
import torch

from fsbench.backbones.meta_device import meta_device
from fsbench.backbones.pyramid_networks import PYRAMIDS, build_pyramid_network
from fsbench.backbones.vit import VITS, new_vit
from fsbench.paths import REPOSITORY

NETWORKS = {
    "dino_vits8": lambda: new_vit(VITS["dino_vits8"].arguments, 32),
    "resnet50": lambda: build_pyramid_network(PYRAMIDS["resnet50"]),
    "vgg16": lambda: build_pyramid_network(PYRAMIDS["vgg16"]),
}


def described(network: torch.nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_shapes_and_types_are_those_of_a_drawn_network(name):
    with meta_device():
        network = NETWORKS[name]()
    assert all(value.is_meta for value in network.state_dict().values())
    assert described(network) == described(NETWORKS[name]())


def test_afterwards_weights_are_drawn_again():
    with meta_device():
        assert torch.nn.init.normal_(torch.empty(2)).is_meta
    assert torch.zeros(100).normal_().std() > 0.5


@pytest.mark.slow
def test_the_compiler_is_not_imported():
    program = """if True:
        import sys
        from fsbench.backbones.encoder import build_encoder_network
        from fsbench.backbones.meta_device import meta_device
        from fsbench.backbones.pyramid_networks import PYRAMIDS, build_pyramid_network
        from fsbench.backbones.vit import VITS, new_vit
        with meta_device():
            new_vit(VITS["dino_vits8"].arguments, 32)
            for name in ("resnet50", "swin_base"):
                build_pyramid_network(PYRAMIDS[name])
        print("torch._dynamo" in sys.modules)
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
