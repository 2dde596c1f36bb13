"""DCAMA's positions, attention and mask resize (dcama.md §3-§5)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fsbench.base.paths import REPOSITORY
from fsbench.methods.dcama.attention import MaskAttention, position_table, resize_mask
from fsbench.networks.ops import mask_value_attention as attention_module
from tests.goldens.harness import Case, Kind, Parts, absolute, stated
from tests.goldens.hashed import hash_state, hash_values
from tests.goldens.networks import gradients, weighted_loss

PATHS = ("reference", "chunked", "fused")
"""Back ends of the attention; each is compared with the golden."""
TABLES = """
import sys, torch
from fsbench.methods.dcama.attention import position_table
lengths = [int(text) for text in sys.argv[2:]]
torch.save({width: position_table(lengths[0], width) for width in lengths[1:]}, sys.argv[1])
"""


def positions(case: Case) -> Parts:
    """Compare the tables in a process where MKL takes the path on which the golden was measured.

    The last bit of `torch.exp` is MKL's: on Intel's CPUs it takes another path than elsewhere, and at position 2303 one
    bit of a frequency near 1 is 1e-4 of a sine.
    """
    rows, widths = case.config["positions"], case.config["C"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tables.pt"
        command = [sys.executable, "-c", TABLES, str(file), str(max(rows) + 1), *map(str, widths)]
        subprocess.run(command, check=True, cwd=REPOSITORY, env=os.environ | {"MKL_CBWR": "COMPATIBLE"})
        tables = torch.load(file, weights_only=True)
    yield {"out.pe.": {f"C{width}": tables[width][rows] for width in widths}}


def _block(case: Case, state: dict[str, Tensor]) -> MaskAttention:
    block = MaskAttention(case.config["C"], case.config["heads"], 0.5).eval()
    block.load_state_dict(state)
    return block


def attention(case: Case) -> Parts:
    t = case.tensors
    for path in PATHS:
        block = _block(case, case.state())
        query, key, value = (t[f"in.{name}"].clone().requires_grad_() for name in ("query", "key", "value"))
        q, k = block.project(0, query.mT), block.project(1, key.mT)
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)[..., None]
        loss = weighted_loss(case, loss_weight=found)
        taken = gradients(loss, block, query=query, key=key, value=value)
        yield {"out.out": found, "out.loss": loss, "grad.": taken}
    weights = attention_module.attention_weights(q, k, block.heads)
    yield {"mid.attn": weights}


def attention_dropout(case: Case) -> Parts:
    """The stored coins in place of random ones, in both paths that draw theirs by place."""
    t, c = case.tensors, case.config
    block = _block(case, case.state())
    tokens = []
    for side in ("query", "support"):
        x = t[f"in.{side}_feat"]
        placed = x + position_table(x.shape[1], c["C"])
        tokens.append((placed * t[f"in.keep_pe_{side}"] * 2).mT)
    q, k = block.project(0, tokens[0]), block.project(1, tokens[1])
    coins = t["in.keep_attn"].flatten(0, 1).float() * 2
    for path in ("reference", "chunked"):
        with pytest.MonkeyPatch.context() as patch:
            stored = lambda weights, p, seed, group, rows: coins[group, rows].clone()  # noqa: E731
            patch.setattr(attention_module, "_dropout_factors", stored)
            found = attention_module.mask_value_attention(q, k, t["in.value"], block.heads, 0.5, path)
        yield {"out.out": found[..., None]}


def attention_true(case: Case) -> Parts:
    c = case.config
    width, length, shots = c["C"], c["N"], c["shot"]
    shapes = {f"linears.{i}.{n}": s for i in (0, 1) for n, s in (("weight", (width, width)), ("bias", (width,)))}
    block = _block(case, hash_state(shapes))
    table = position_table(length, width)
    query = hash_values(101, (1, length, width), -3, 3) + table
    support = (hash_values(102, (shots, length, width), -3, 3) + table).reshape(1, -1, width)
    q, k = block.project(0, query.mT), block.project(1, support.mT)
    for path in PATHS:
        value = hash_values(103, (1, shots * length), 0, 1)
        found = attention_module.mask_value_attention(q, k, value, block.heads, 0.0, path)[..., None]
        yield {"out.out": found}
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
    "positional_encoding": Kind(positions, STATED),
    "attention": Kind(attention, STATED | {"grad.": stated("grad_abs", absolute)}),
    "attention_dropout": Kind(attention_dropout, STATED),
    "attention_true": Kind(attention_true, STATED),
    "mask_resize": Kind(mask_resize, STATED),
}
