"""The last block of a vision transformer whose class token alone is read: nothing is computed for its other tokens.

Shapes: B images, T tokens of which the first is the class token, H heads, D channels.
"""

from typing import Any

import torch.nn.functional as F
from einops import rearrange
from timm.models.vision_transformer import Attention, Block, VisionTransformer
from torch import Tensor, nn


class ClassTokenBlock(nn.Module):
    """A ViT's block that answers for the class token alone.

    The other tokens give keys and values, and queries to whoever reads them out of `attn.qkv`; they have no attention,
    projection and MLP of their own.

    Args:
        block: the block, whose layers this one shares under the same names.
    """

    def __init__(self, block: Block):
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the class token (B, 1, D) of the tokens (B, T, D)."""
        net: Any = self
        qkv = net.attn.qkv(net.norm1(tokens))
        q, k, v = rearrange(qkv, "b t (three h d) -> three b h t d", three=3, h=net.attn.num_heads)
        attended = rearrange(F.scaled_dot_product_attention(q[:, :, :1], k, v), "b h t d -> b t (h d)")
        token: Tensor = tokens[:, :1] + net.ls1(net.attn.proj(attended))
        return token + net.ls2(net.mlp(net.norm2(token)))


def read_class_token_alone(encoder: nn.Module) -> None:
    """Replace a ViT's last block in place, if the class token is all that is read of it and it drops nothing at random.

    Other networks stay as they are.
    """
    if not isinstance(encoder, VisionTransformer) or encoder.global_pool != "token":
        return
    blocks: Any = encoder.blocks
    attention = blocks[-1].attn
    steps = [getattr(attention, name, None) for name in ("q_norm", "k_norm", "norm", "gate")]
    steps += [getattr(blocks[-1], name, None) for name in ("drop_path1", "drop_path2")]
    drops = any(isinstance(layer, nn.Dropout) and layer.p for layer in blocks[-1].modules())
    is_plain = not drops and all(step is None or isinstance(step, nn.Identity) for step in steps)
    if type(blocks[-1]) is Block and type(attention) is Attention and is_plain:
        blocks[-1] = ClassTokenBlock(blocks[-1])
