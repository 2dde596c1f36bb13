"""Curves of how much of the support the scan still remembers while it reads the query (the paper's Fig. 5).

Shapes: b samples, C model width, d inner width, S feature side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.hmnet.mamba.maps import DIRECTIONS
from fsbench.methods.hmnet.mamba.network import HybridMamba
from fsbench.methods.hmnet.mamba.ss2d import SS2D, ScanTokens
from fsbench.methods.modules.maps import resize
from fsbench.networks.ops.selective_scan import selective_scan

POINTS = 4
"""Points of the curve per query patch."""


@torch.no_grad()
def memory_curves(net: HybridMamba, query: Tensor, support: Tensor) -> dict[str, Tensor]:
    """Measure how similar the hidden state stays to the state after the support, all along the scan.

    Args:
        net: the trained network.
        query, support: its inputs (b, C, S, S).

    Returns:
        For each hybrid block "block 1: support once" and, if the network recaps, "block 1: support recapped":
        (patches · POINTS,) cosines of all states of a direction, averaged over directions and samples.
    """
    q, s = (x.permute(0, 2, 3, 1) for x in (query, support))
    curves = {}
    for i, block in enumerate(net.blocks):
        scan = block.self_attention
        if scan.hybrid:
            x_q, _ = scan.project_in(block.ln_1(q), scan.in_proj_q, scan.conv2d_q)
            x_s, _ = scan.project_in(block.ln_1(s), scan.in_proj_s, scan.conv2d_s)
            for name, recap in (("support recapped", True), ("support once", False)):
                if not recap or scan.config.srm == "recap":
                    curves[f"block {i}: {name}"] = memory_curve(scan, x_q, x_s, recap)
        q, s = block(q, s)
    return curves


@torch.no_grad()
def memory_curve(scan: SS2D, x_q: Tensor, x_s: Tensor, recap: bool) -> Tensor:
    """Return the curve (patches · POINTS,) of one scan; see `memory_curves`.

    Args:
        scan: the scan of a hybrid block.
        x_q, x_s: inputs of its scan (b, d, S, S).
        recap: scan the support before every patch of the query, not only before the first.
    """
    ratio = scan.config.ratio
    support = scan.tokens(resize(x_s, x_q.shape[-1] // ratio))
    whole = scan.tokens(x_q, ratio)

    def last_state(tokens: ScanTokens, state: Tensor | None) -> Tensor:
        return selective_scan(**scan.scan_arguments(tokens), initial_state=state, return_last_state=True)[1]

    after_support = state = last_state(support, None)
    length, similarities = whole.u.shape[-1] // ratio**2, []
    points = min(POINTS, length)
    for patch in range(ratio**2):
        if recap and patch:
            state = last_state(support, state)
        window = [t[..., patch * length : (patch + 1) * length].tensor_split(points, -1) for t in whole]
        for tokens in zip(*window, strict=True):
            state = last_state(ScanTokens(*tokens), state)
            now, then = (x.unflatten(1, (DIRECTIONS, -1)).flatten(2) for x in (state, after_support))
            similarities.append(F.cosine_similarity(now, then, dim=2).mean())
    return torch.stack(similarities)
