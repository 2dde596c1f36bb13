"""DCAMA's positions, attention and mask resize (dcama.md §3-§5)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from fsbench.base.paths import REPOSITORY
from fsbench.methods.dcama.attention import MaskAttention, position_table, resize_mask
from fsbench.networks.ops import mask_value_attention as attention_module
from tests.goldens import networks as n
from tests.goldens.cases import Case
from tests.goldens.declared import Kind, Parts, Results, absolute, stated
from tests.goldens.hashed import hash_values

PATHS = ("reference", "chunked", "fused")
"""Back ends of the attention; each is compared with the golden."""
TABLES = """
import sys, torch
from fsbench.methods.dcama.attention import position_table
lengths = [int(text) for text in sys.argv[2:]]
torch.save({width: position_table(lengths[0], width) for width in lengths[1:]}, sys.argv[1])
"""


def positions_of_tables(C: list[int], positions: list[int]) -> Results:
    """Compare the tables in a process where MKL takes the path on which the golden was measured.

    The last bit of `torch.exp` is MKL's: on Intel's CPUs it takes another path than elsewhere, and at position 2303 one
    bit of a frequency near 1 is 1e-4 of a sine.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.pt"
        command = [sys.executable, "-c", TABLES, str(file), str(max(positions) + 1), *map(str, C)]
        subprocess.run(command, check=True, cwd=REPOSITORY, env=os.environ | {"MKL_CBWR": "COMPATIBLE"})
        tables = torch.load(file, weights_only=True)
    return {"out.pe.": {f"C{width}": tables[width][positions] for width in C}}


def attention(case: Case, C: int, heads: int) -> Parts:
    for path in PATHS:
        block = n.loaded(MaskAttention(C, heads, 0.5).eval(), case.state())
        query, key, value = (case.tensors[f"in.{name}"].clone().requires_grad_() for name in ("query", "key", "value"))
        q, k = block.project(0, query.mT), block.project(1, key.mT)
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)[..., None]
        loss = n.weighted_loss(case, loss_weight=found)
        taken = n.gradients(loss, block, query=query, key=key, value=value)
        yield {"out.out": found, "out.loss": loss, "grad.": taken}
    weights = attention_module.attention_weights(q, k, block.heads)
    yield {"mid.attn": weights}


def attention_dropout(case: Case, C: int, heads: int, keep_attn: Tensor, value: Tensor) -> Parts:
    """The stored coins in place of random ones, in both paths that draw theirs by place."""
    block, tokens = n.loaded(MaskAttention(C, heads, 0.5).eval(), case.state()), []
    for side in ("query", "support"):
        x = case.tensors[f"in.{side}_feat"]
        placed = x + position_table(x.shape[1], C)
        tokens.append((placed * case.tensors[f"in.keep_pe_{side}"] * 2).mT)
    q, k = block.project(0, tokens[0]), block.project(1, tokens[1])
    coins = keep_attn.flatten(0, 1).float() * 2
    stored = lambda weights, p, seed, group, rows: coins[group, rows].clone()  # noqa: E731
    for path in ("reference", "chunked"):
        with mock.patch.object(attention_module, "_dropout_factors", stored):
            found = attention_module.mask_value_attention(q, k, value, block.heads, 0.5, path)
        yield {"out.out": found[..., None]}


def attention_true(C: int, heads: int, N: int, shot: int) -> Parts:
    block, table = n.load_hashed(MaskAttention(C, heads, 0.5).eval()), position_table(N, C)
    query = hash_values(101, (1, N, C), -3, 3) + table
    support = (hash_values(102, (shot, N, C), -3, 3) + table).reshape(1, -1, C)
    q, k = block.project(0, query.mT), block.project(1, support.mT)
    value = hash_values(103, (1, shot * N), 0, 1)
    for path in PATHS:
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)
        yield {"out.out": found[..., None]}
    weights = attention_module.attention_weights(q[..., :4], k, block.heads)
    yield {"mid.attn_head0_first4": weights[0, 0]}


def mask_resize(case: Case) -> Parts:
    for name in case.group("out.bilinear."):
        source, _, side = name.partition(".")
        if not side.isdecimal() or f"in.mask.{source}" not in case.tensors:  # reported as unchecked
            continue
        masks = case.tensors[f"in.mask.{source}"]
        yield {f"out.bilinear.{name}": resize_mask(masks, int(side), int(side))}


STATED = {"": stated("abs", absolute)}
KINDS = {
    "positional_encoding": Kind(positions_of_tables, STATED),
    "attention": Kind(attention, STATED | {"grad.": stated("grad_abs", absolute)}),
    "attention_dropout": Kind(attention_dropout, STATED),
    "attention_true": Kind(attention_true, STATED),
    "mask_resize": Kind(mask_resize, STATED),
}
