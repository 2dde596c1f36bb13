"""How much of the support the scan still remembers while it reads the query (the paper's Fig. 5)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.ops.selective_scan import selective_scan
from methods._mamba import DIRECTIONS, SS2D, HybridMamba, resize

PIECES = 4
"""Points of the curve per query patch."""


@torch.no_grad()
def memory_curves(net: HybridMamba, query: Tensor, support: Tensor) -> dict[str, Tensor]:
    """Similarity of the hidden state to the one after the support, over the scan.

    Args:
        net: the trained network; query, support: its inputs (b, C, S, S).

    Returns:
        for each hybrid block, "block 1: support once" and, where the network recaps, "block 1: support recapped":
        (patches · PIECES,) cosines of all states of a direction, averaged over directions and samples.
    """
    q, s = (x.permute(0, 2, 3, 1) for x in (query, support))
    curves = {}
    for i, block in enumerate(net.blocks):
        scan = block.self_attention
        if scan.hybrid:
            x_q, _ = scan._enter(block.ln_1(q), scan.in_proj_q, scan.conv2d_q)
            x_s, _ = scan._enter(block.ln_1(s), scan.in_proj_s, scan.conv2d_s)
            for name, recap in (("support recapped", True), ("support once", False)):
                if not recap or scan.mixing.srm == "recap":
                    curves[f"block {i}: {name}"] = memory_curve(scan, x_q, x_s, recap)
        q, s = block(q, s)
    return curves


@torch.no_grad()
def memory_curve(scan: SS2D, x_q: Tensor, x_s: Tensor, recap: bool) -> Tensor:
    """Of one scan: inputs (b, d, S, S) -> (patches · PIECES,), see `memory_curves`."""
    ratio = scan.mixing.ratio
    support = scan.tokens(resize(x_s, x_q.shape[-1] // ratio))
    whole = scan.tokens(x_q, ratio)

    def last(tokens: tuple[Tensor, ...], state: Tensor | None) -> Tensor:
        arguments = scan._arguments((tokens[0], tokens[1], tokens[2], tokens[3]))
        return selective_scan(**arguments, initial_state=state, return_last_state=True)[1]

    remembered = state = last(support, None)
    length, similarity = whole[0].shape[-1] // ratio**2, []
    pieces = min(PIECES, length)
    for patch in range(ratio**2):
        if recap and patch:
            state = last(support, state)
        window = [t[..., patch * length : (patch + 1) * length].tensor_split(pieces, -1) for t in whole]
        for tokens in zip(*window, strict=True):
            state = last(tokens, state)
            now, then = (x.unflatten(1, (DIRECTIONS, -1)).flatten(2) for x in (state, remembered))
            similarity.append(F.cosine_similarity(now, then, dim=2).mean())
    return torch.stack(similarity)
