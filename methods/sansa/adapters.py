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
    """Sizes of the adapter of one transformer block in SAM 2's image encoder, Hiera.

    Attributes:
        block: number of the block in Hiera, from 0.
        inputs, outputs: channels of the block's input and of its output, which the adapter changes.
        bottleneck: number of channels between the adapter's two layers.
    """

    block: int
    inputs: int
    outputs: int
    bottleneck: int


def adapter_shapes(
    width: int, blocks_per_stage: Sequence[int], stages: Collection[int], factor: float
) -> list[AdapterShape]:
    """Return the sizes of the adapters in a Hiera, one for each block of the chosen stages.

    Args:
        width: channels of Hiera's first stage; they double at each further stage.
        blocks_per_stage: number of blocks in each stage; the first block's input has the channels of the stage before.
        stages: numbers, from 0, of the stages with adapters.
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
    """Bottleneck adapter beside a block's MLP, whose output starts as 0; parameters have the authors' names.

    Args:
        channels: c, channels of the block's output.
        bottleneck: channels between the adapter's two layers.
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
        """Return the adapter's output (b, h, w, c) for features (b, h, w, c), to be added to the block's."""
        inner: Tensor = self.up_proj(torch.relu(self.down_proj(self.adapter_layer_norm_before(x))))
        return SCALE * inner


class Adapters(nn.ModuleDict):
    """Adapters of several blocks of SAM 2's image encoder; called with a block and its number in place of the block.

    Args:
        shapes: sizes of the adapters, from `adapter_shapes`.
    """

    def __init__(self, shapes: Sequence[AdapterShape]):
        super().__init__({str(shape.block): Adapter(shape.outputs, shape.bottleneck) for shape in shapes})

    def forward(self, number: int, block: Any, x: Tensor) -> Tensor:
        """Return the output of block number `number` for features (b, h, w, c), with its adapter if it has one."""
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
    """Layout of SANSA's checkpoints, which hold the adapters alone or the whole network with them."""

    def split(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        places = {name: NAME.match(name) for name in state}
        learned = {f"adapters.{found[1]}.{found[2]}": state[name] for name, found in places.items() if found}
        if not learned:
            return None
        return learned, {SAM.sub("", name): state[name] for name, found in places.items() if not found}

    def join(self, learned: dict[str, Tensor], backbone: dict[str, Tensor]) -> dict[str, Any]:
        """Return the content of a checkpoint in the authors' layout: the learned weights, without the backbone's."""
        state = {}
        for name, value in learned.items():
            _, block, rest = name.split(".", 2)
            state[f"sam.image_encoder.trunk.blocks.{block}.adapter.{rest}"] = value
        return {"model": state}
