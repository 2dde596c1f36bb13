"""Where the last block of a fine-tuned network looks on the supports."""

import torch
from torch import Tensor

from fsbench.data.batch import ImageEpisode
from fsbench.methods.classifiers.attention_maps import attention_logits
from fsbench.methods.classifiers.fine_tuned import FineTuned


def tuned_attention(method: FineTuned, episode: ImageEpisode) -> dict[str, Tensor]:
    """Return shares (B, patches) of the supports: FORT's `focus`, and the attention `before` and `after` tuning."""
    with torch.inference_mode(False), method.start_episode(episode, with_prompts=True) as state:
        assert state.focus is not None
        before = class_token_attention(state.net.encoder, state.support)
        method.tune(state)
        after = class_token_attention(state.net.encoder, state.support)
        parts = {"focus": state.focus[-1].flatten(1), "before": before, "after": after}
    return {name: part / part.sum(1, keepdim=True) for name, part in parts.items()}


def class_token_attention(encoder: torch.nn.Module, images: Tensor) -> Tensor:
    """Return a ViT's attention of the class token to the patches (B, patches), of the mean of the heads' logits."""
    with torch.no_grad(), attention_logits(encoder) as stages:
        encoder(images)
        return stages[-1]().mean(1)[:, 0].softmax(-1)
