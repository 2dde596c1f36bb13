"""Adapters in the last stages of SAM 2's image encoder, all that SANSA trains, and their files (sansa.md §1, §3).

Shapes: b images, (h, w) the map of a block, c channels.
"""

import math
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fsbench.core.released_format import ReleasedFormat

SCALE = 0.1


class AdapterShape(NamedTuple):
    """Sizes of a block's adapter.

    Attributes:
        block: its number in Hiera, from 0.
        inputs, outputs: channels of the block's input and of its output, which the adapter changes.
        bottleneck: channels between the adapter's two layers, a share of `inputs`.
    """

    block: int
    inputs: int
    outputs: int
    bottleneck: int


def adapter_shapes(
    width: int, blocks_per_stage: Sequence[int], stages: Collection[int], factor: float
) -> list[AdapterShape]:
    """Return the adapters' sizes for a Hiera.

    Args:
        width: channels of its first stage; they double at each further one.
        blocks_per_stage: the first block of a stage has the stage before's channels as its input.
        stages: those with adapters, from 0.
        factor: channels of a bottleneck as a share of the block's input channels.
    """
    shapes, block = [], 0
    for stage, count in enumerate(blocks_per_stage):
        for place in range(count):
            outputs = width * 2**stage
            inputs = outputs // 2 if stage and not place else outputs
            if stage in stages:
                shapes.append(AdapterShape(block, inputs, outputs, int(inputs * factor)))
            block += 1
    return shapes


class Adapter(nn.Module):
    """Bottleneck beside a block's MLP; it starts as 0. Names are those of the authors' checkpoints.

    Args:
        channels: c.
        bottleneck: channels between its layers.
    """

    def __init__(self, channels: int, bottleneck: int):
        super().__init__()
        self.adapter_layer_norm_before = nn.LayerNorm(channels)  # eps 1e-5; Hiera has 1e-6
        self.down_proj = nn.Linear(channels, bottleneck)
        self.up_proj = nn.Linear(bottleneck, channels)
        nn.init.kaiming_uniform_(self.down_proj.weight, a=math.sqrt(5))
        for zero in (self.down_proj.bias, self.up_proj.weight, self.up_proj.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to features (b, h, w, c)."""
        inner: Tensor = self.up_proj(torch.relu(self.down_proj(self.adapter_layer_norm_before(x))))
        return SCALE * inner


class Adapters(nn.ModuleDict):
    """Adapters by the numbers of their blocks; called as `fsbench.networks.backbones.sam2_sam3.BlockChange`.

    Args:
        shapes: from `adapter_shapes`.
    """

    def __init__(self, shapes: Sequence[AdapterShape]):
        super().__init__({str(shape.block): Adapter(shape.outputs, shape.bottleneck) for shape in shapes})

    def forward(self, number: int, block: Any, x: Tensor) -> Tensor:
        """Compute block `number` with its adapter on features (b, h, w, c), or as it is where it has none."""
        if str(number) not in self:
            found: Tensor = block(x)
            return found
        branch: list[Tensor] = []
        adapter = self[str(number)]

        def take(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            branch.append(adapter(args[0]))  # the features after attention, as the norm before the MLP gets them

        handle = block.layer_norm2.register_forward_pre_hook(take)
        try:
            changed: Tensor = block(x) + branch[0]
        finally:
            handle.remove()
        return changed


NAME = re.compile(r"^(?:module\.)?(?:sam\.)?image_encoder\.trunk\.blocks\.(\d+)\.adapter\.(.+)$")
SAM = re.compile(r"^(?:module\.)?sam\.")


class AdapterFile(ReleasedFormat):
    """Layout of checkpoints with adapters, alone or within the whole network."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        places = {name: NAME.match(name) for name in state}
        learned = {f"adapters.{found[1]}.{found[2]}": state[name] for name, found in places.items() if found}
        if not learned:
            return None
        return learned, {SAM.sub("", name): state[name] for name, found in places.items() if not found}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of the authors' file, which holds no backbone."""
        state = {}
        for name, value in learned.items():
            _, block, rest = name.split(".", 2)
            state[f"sam.image_encoder.trunk.blocks.{block}.adapter.{rest}"] = value
        return {"model": state}
