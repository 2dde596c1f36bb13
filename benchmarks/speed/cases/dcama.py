"""DCAMA's head on its plain path (all attention weights in memory, mixer on the enlarged map) and its fast one."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

import fsbench.ops.mask_value_attention as op
from benchmarks.speed.harness import Case, call_difference
from fsbench.backbones.pyramid_networks import PYRAMIDS
from methods.dcama.head import SCALES, DCAMAHead


def features(net: str, side: int, lead: tuple[int, ...], seed: int, device: torch.device) -> list[Tensor]:
    """Draw a random pyramid (*lead, L, C, h, w) of the network's shapes, the finest scale of its last block alone."""
    generator = torch.Generator().manual_seed(seed)
    spec = PYRAMIDS[net]
    depths = (1, *spec.blocks[1:])
    return [
        torch.randn(*lead, depth, width, side // scale, side // scale, generator=generator).to(device)
        for depth, width, scale in zip(depths, spec.channels, SCALES, strict=True)
    ]


def head_calls(net: str, shots: int, side: int, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    """Return the calls by name: of the attention of all blocks alone, and of the whole head."""
    torch.manual_seed(0)
    spec = PYRAMIDS[net]
    head = DCAMAHead(spec.channels, (1, *spec.blocks[1:])).to(device)
    query = features(net, side, (1,), 1, device)
    support = features(net, side, (1, shots), 2, device)
    masks = torch.zeros(1, shots, side, side, device=device)
    masks[..., side // 4 : side // 2, side // 4 : -side // 4] = 1

    def attention() -> Tensor:
        return torch.cat([m.flatten() for m in head.coarse_masks(query, support, masks).values()])

    def forward(call: Callable[[], Tensor]) -> Tensor:
        head.eval()
        with torch.inference_mode():
            return call()

    def step(call: Callable[[], Tensor]) -> Tensor:
        head.train()
        torch.manual_seed(3)  # the same dropout in both paths
        head.zero_grad()
        call().square().mean().backward()
        return torch.cat([p.grad.flatten() for p in head.parameters() if p.grad is not None])

    def whole() -> Tensor:
        return head(query, support, masks)

    calls = {"attention, forward": lambda: forward(attention), "head, forward": lambda: forward(whole)}
    if shots == 1:  # training is 1-shot
        calls |= {"attention, training step": lambda: step(attention), "head, training step": lambda: step(whole)}
    return calls


def on_path(path: str, call: Callable[[], Tensor], own_dropout: bool = True) -> Callable[[], Tensor]:
    """Return `call` on the given path of the attention.

    Args:
        path: a back end of `mask_value_attention`.
        call: what is called.
        own_dropout: drop the weights that all paths drop; False for torch's dropout, as plain code does.
    """

    def draw(weights: Tensor, dropout: float, *place: Any) -> Tensor:
        return F.dropout(torch.ones_like(weights), dropout)

    def run() -> Tensor:
        os.environ["FSBENCH_MASK_ATTENTION"] = path
        with mock.patch.object(op, "_dropout_factors", op._dropout_factors if own_dropout else draw):
            return call()

    return run


def cases(
    device: torch.device, backbone: str = "swin_base,resnet50", shots: tuple[int, ...] = (1, 5), side: int = 384
) -> Iterator[Case]:
    """Compare forward pass and training step (dropout on), batch 1, on random features of an image's shapes.

    Outputs and gradients are compared with the same weights dropped; when it is timed, the plain path drops them with
    torch's dropout.
    """
    fast = "fused" if device.type == "cuda" else "chunked"
    for net in backbone.split(","):
        for count in shots:
            for what, call in head_calls(net, count, side, device).items():
                plain, ours = on_path("reference", call), on_path(fast, call)
                # dropped weights differ between fused kernels and ours, so steps are compared on the CPU alone
                comparable = device.type == "cpu" or "step" not in what
                yield Case(
                    f"DCAMA's {what}, {net}, {side} pixels, {count}-shot",
                    {"plain": on_path("reference", call, own_dropout=False), fast: ours},
                    partial(call_difference, plain, ours) if comparable else None,
                    tolerance=1e-3,
                )
