"""The frozen ViT: position table and tokens of all blocks (emat.md §1)."""

import re
from typing import Any

from fsbench.networks.backbones.timm_networks import build_vit, resize_position_table, vit_tokens
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, absolute, relative


def position_embedding(case: Case) -> Results:
    """Results are named `out.<table>.<height>x<width>` of the image; the patch is 14."""
    found = {}
    for name in case.group("out."):
        named = re.fullmatch(r"(\w+)\.(\d+)x(\d+)", name)
        if named is None or f"in.{named[1]}" not in case.tensors:  # reported as unchecked
            continue
        table, height, width = named[1], int(named[2]) // 14, int(named[3]) // 14
        found[name] = resize_position_table(case.tensors[f"in.{table}"], height, width)
    return {"out.": found}


def vit_tokens_of_all_blocks(case: Case) -> Parts:
    c = case.config
    arguments = dict(
        patch_size=c["patch"],
        embed_dim=c["dim"],
        depth=c["depth"],
        num_heads=c["heads"],
        mlp_ratio=c["mlp_ratio"],
        init_values=1e-5 if "blocks.0.ls1.gamma" in case.state() else None,  # DINO has no LayerScale
    )
    for i, (height, width) in enumerate(c["images"]):
        model: Any = build_vit(arguments, case.state(), height, width)
        assert all(norm.eps == c["ln_eps"] for norm in (model.norm, model.blocks[0].norm1))
        tokens = vit_tokens(model, case.tensors[f"in.{i}.image"])
        yield {f"mid.{i}.pos_embed": model.pos_embed, f"out.{i}.tokens": tokens}


KINDS = {
    "position_embedding": Kind(position_embedding, {"": absolute(1e-6)}),
    "vit_tokens": Kind(vit_tokens_of_all_blocks, {"": relative(2e-5)}),
}
