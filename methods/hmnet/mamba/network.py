"""Blocks of HMNet's hybrid Mamba network: self blocks, and hybrid blocks that mix query and support (hmnet.md §6).

Module and parameter names are those of the authors' checkpoints.

Shapes: b samples, C model width, S feature side.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.methods.hmnet.mamba.config import HybridMambaConfig
from fsbench.methods.hmnet.mamba.ss2d import SS2D


class Mlp(nn.Module):
    """Two linear layers with a GELU (§6.1)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Scan and feed-forward of both streams, with shared norms (§6.1)."""

    def __init__(self, width: int, config: HybridMambaConfig, hybrid: bool):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.self_attention = SS2D(width, config, hybrid)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp_q = Mlp(width)
        self.mlp_s = Mlp(width)

    def forward(self, q: Tensor, s: Tensor, with_support: bool = True) -> tuple[Tensor, Tensor]:
        """Mix query and support (b, S, S, C); without `with_support` the support is returned as it came."""
        residual_q, residual_s = self.self_attention(self.ln_1(q), self.ln_1(s), with_support)
        q = q + residual_q
        q = q + self.mlp_q(self.ln_2(q))
        if residual_s is None:
            return q, s
        s = s + residual_s
        return q, s + self.mlp_s(self.ln_2(s))

    def freeze_support(self) -> None:
        """Freeze the parameters of the support stream that no loss depends on.

        Called for blocks whose support no later block learns from. Without it, training on several processes would wait
        for gradients that never come.
        """
        scan = self.self_attention
        unused: list[nn.Module] = [scan.out_proj_s, self.mlp_s]
        query_reads_support = scan.hybrid and scan.config.srm != "off"
        for module in unused if query_reads_support else [*unused, scan.in_proj_s, scan.conv2d_s]:
            module.requires_grad_(False)


class Stage(nn.Module):
    """The blocks, one level down as in the authors' checkpoints (`layers.0.blocks`)."""

    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class HybridMamba(nn.Module):
    """Alternating self and hybrid blocks (§6).

    Args:
        width: C.
        config: settings.
    """

    def __init__(self, width: int, config: HybridMambaConfig):
        super().__init__()
        blocks = [Block(width, config, hybrid=config.hybrid and i % 2 == 1) for i in range(config.blocks)]
        self.layers = nn.ModuleList([Stage(blocks)])
        self.norm = nn.LayerNorm(width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.support_blocks = config.blocks // 2 * 2 - 1 if config.hybrid else 0
        """Number of blocks before the last hybrid one, whose support is used by a later block."""
        self.learns_from_support = config.hybrid and config.srm != "off" and config.blocks > 1
        """True if the support gets a gradient; the interception's state has none."""
        for block in blocks[max(self.support_blocks, 0) if self.learns_from_support else 0 :]:
            block.freeze_support()

    @property
    def blocks(self) -> list[Block]:
        stage = self.layers[0]
        assert isinstance(stage, Stage)
        return [block for block in stage.blocks if isinstance(block, Block)]

    def forward(self, query: Tensor, support: Tensor) -> Tensor:
        """Mix query and support (b, C, S, S); return the normalised query (b, C, S, S)."""
        q, s = (x.permute(0, 2, 3, 1) for x in (query, support))
        for i, block in enumerate(self.blocks):
            q, s = block(q, s, with_support=i < self.support_blocks)
        return self.norm(q).permute(0, 3, 1, 2)
