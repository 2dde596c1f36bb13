"""Low-rank adapters of a transformer's attention, by peft."""

from torch import nn

LORA_LAYERS = r".*attn\.(qkv|proj)"
"""Layers with an adapter; a list of names would also match the projection of the patches."""


def insert_lora(network: nn.Module, rank: int, alpha: int) -> None:
    """Insert low-rank adapters into a timm transformer, in place; only the adapters are trained.

    The adapters' first values leave the network's output unchanged; they come from torch's global generator on the CPU.

    Args:
        network: timm's `VisionTransformer`, `Eva` or `SwinTransformer`.
        rank: rank of an adapter, the number of channels between its two layers.
        alpha: alpha / rank is the factor of an adapter's output.
    """
    from peft import LoraConfig, inject_adapter_in_model  # it imports much

    inject_adapter_in_model(
        LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=LORA_LAYERS), network
    )
