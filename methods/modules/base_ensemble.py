"""BAM's ensemble of a meta learner with a base learner, which HMNet and HDMNet have as well (bam.md §6, hmnet.md §9.3).

Shapes: b samples, n base classes, (h, w) a map, S image side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.data.dataset import VOID
from fsbench.methods.modules.maps import resize, widened


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


def ensemble_losses(
    final: Tensor,
    meta: Tensor,
    base: Tensor | None,
    target: Tensor,
    base_target: Tensor | None = None,
    meta_weight: float = 1.0,
) -> dict[str, Tensor]:
    """Return the losses of an ensemble against targets (b, S, S) with void 255 (bam.md §6.1).

    The cross-entropy takes the ensemble's values as logits, as the authors do. That of the base learner, which is
    frozen, is no part of what is minimised: it only tells how well that learner does.

    Args:
        final: what decides (b, 2, h, w).
        meta: logits of the meta learner (b, 2, h, w).
        base: logits of the base learner (b, n + 1, h, w); None without one, and `final` is `meta`.
        target: 0 background, 1 the episode's class.
        base_target: 0 background, 1..n base classes; None where they are not known.
        meta_weight: factor of the meta learner's loss.
    """

    def entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(widened(resize(logits, target.shape[-1])), labels.long(), ignore_index=VOID)

    main = entropy(final, target)
    if base is None:
        return {"loss": main}
    own = entropy(meta, target)
    losses = {"loss": main + meta_weight * own, "main": main, "meta": own}
    if base_target is not None:
        losses["base"] = entropy(base, base_target).detach()
    return losses
