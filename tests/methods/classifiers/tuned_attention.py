"""Where the last block of a fine-tuned network looks on the supports."""

import torch
from torch import Tensor

from fsbench.data.batch import ImageEpisode
from fsbench.methods.classifiers.fine_tuned import FineTuned
from fsbench.methods.classifiers.fort import attention_logits
from tests.methods.classifiers.first_episodes import supports


def tuned_attention(method: FineTuned, episode: ImageEpisode) -> dict[str, Tensor]:
    """Return shares (B, patches) of the supports: FORT's `focus`, and the attention `before` and `after` tuning."""
    support, labels = supports(method, episode)
    with method.start(support, labels, with_prompts=True) as start:
        assert start.focus is not None
        before = class_token_attention(start.net.encoder, support)
        method.tune(start, support, labels)
        after = class_token_attention(start.net.encoder, support)
        parts = {"focus": start.focus[-1].flatten(1), "before": before, "after": after}
    return {name: part / part.sum(1, keepdim=True) for name, part in parts.items()}


def class_token_attention(encoder: torch.nn.Module, images: Tensor) -> Tensor:
    """Return a ViT's attention of the class token to the patches (B, patches), of the mean of the heads' logits."""
    with torch.no_grad(), attention_logits(encoder) as stages:
        encoder(images)
        return stages[-1]().mean(1)[:, 0].softmax(-1)
