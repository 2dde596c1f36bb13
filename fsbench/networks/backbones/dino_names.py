"""Bring the weights of DINOv2 and DINOv3 under their authors' or transformers' names to timm's names (insid3.md §1)."""

import re

import torch
from torch import Tensor

DROPPED = re.compile(r"(embeddings\.)?mask_token|.*\.bias_mask")
"""Entries that no feature depends on."""
PERIODS = "rope.periods"
"""Periods of rotary positions; timm computes them unless a file brings them. Those of Meta's DINOv3 may be rounded."""
TRANSFORMERS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.register_tokens": "reg_token",
    "embeddings.patch_embeddings": "patch_embed.proj",
    "layer_scale1.lambda1": "gamma_1",
    "layer_scale2.lambda1": "gamma_2",
    "mlp.up_proj": "mlp.fc1",
    "mlp.down_proj": "mlp.fc2",
    "attention.o_proj": "attn.proj",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
}
"""Names in transformers' DINOv3 and in timm's, but for the blocks and the weights of queries, keys and values."""


def dino_to_timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights that features of a DINO model depend on, under timm's names.

    Args:
        state: weights of DINO, DINOv2 (with and without registers) or DINOv3 under the names of the authors, of
            transformers or of timm; it is not changed. Weights of other networks are returned as they are.
    """
    state = {key: value for key, value in state.items() if not DROPPED.fullmatch(key)}
    if "embeddings.cls_token" in state:
        return _rename_transformers_dinov3(state)
    if "storage_tokens" in state:
        return _rename_released_dinov3(state)
    return _rename_released_dinov2(state)


def _rename_released_dinov2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what DINOv2 names otherwise: the registers, and the gated layers of its giant.

    timm adds no position to the class token of a network with registers: it is added to the token's weights here.
    """
    renamed = {
        key.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2."): value for key, value in state.items()
    }
    registers, table = renamed.pop("register_tokens", None), renamed.get("pos_embed")
    if registers is not None:
        renamed["reg_token"] = registers
        if table is not None and "cls_token" in renamed:
            renamed["cls_token"] = renamed["cls_token"] + table[:, 0]
            renamed["pos_embed"] = table[:, 1:]
    return renamed


def _rename_released_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename registers and layer scales, and take the bias of queries and values from that of all three.

    That of the keys is zero in every release (it is masked there), and timm's network has none.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(".attn.qkv.bias"):
            query, _, values = value.chunk(3)
            prefix = key.removesuffix("qkv.bias")
            renamed |= {f"{prefix}q_bias": query, f"{prefix}v_bias": values}
        else:
            key = "reg_token" if key == "storage_tokens" else key.replace("rope_embed.periods", PERIODS)
            renamed[re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", key)] = value
    return renamed


def _rename_transformers_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename all, and join the weights of queries, keys and values."""
    renamed = {}
    for key, value in state.items():
        if re.search(r"attention\.[kv]_proj\.weight$", key):
            continue  # joined below
        name = re.sub(r"^(model\.)?layer\.", "blocks.", key)
        if key.endswith("attention.q_proj.weight"):
            parts = [state.get(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
            renamed[name.replace("attention.q_proj", "attn.qkv")] = torch.cat([p for p in parts if p is not None])
            continue
        for theirs, timms in TRANSFORMERS.items():
            name = name.replace(theirs, timms)
        renamed[name] = value
    return renamed
