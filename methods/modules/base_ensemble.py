"""BAM's ensemble of a meta learner with a base learner, which HMNet has as well (bam.md §6, hmnet.md §9.3).

Shapes: b samples, n base classes, (h, w) a map.
"""

import torch
from torch import Tensor, nn

from fsbench.methods.modules.maps import widened


def merge_layer() -> nn.Conv2d:
    """Build the layer that weighs two maps; it starts with the first alone."""
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    return conv


def base_map(logits: Tensor, own_class: Tensor | None) -> Tensor:
    """Return the probability of any base class but the episode's own (b, 1, h, w).

    Args:
        logits: of background and base classes (b, n + 1, h, w).
        own_class: (b,) number of the episode's class among the base classes, from 0, while training.
    """
    probability = widened(logits).softmax(1)
    total = probability[:, 1:].sum(1, keepdim=True)
    if own_class is None:
        return total
    own = probability[torch.arange(len(probability)), own_class + 1]
    return total - own[:, None]


def join(gram_merge: nn.Module, cls_merge: nn.Module, meta: Tensor, distance: Tensor, base: Tensor) -> Tensor:
    """Join meta probabilities, style distance and base map to (b, 2, h, w), which are no probabilities any more.

    Args:
        gram_merge, cls_merge: trained `merge_layer`.
        meta: probabilities of the meta learner (b, 2, h, w).
        distance: (b, 1, 1, 1).
        base: `base_map` (b, 1, h, w).
    """
    distance = distance.expand_as(base)
    background, foreground = (gram_merge(torch.cat([m, distance], 1)) for m in meta.split(1, 1))
    return torch.cat([cls_merge(torch.cat([background, base], 1)), foreground], 1)
