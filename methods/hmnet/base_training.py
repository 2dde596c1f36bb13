"""Training and validation of the base learner as BAM makes them: loss, optimiser, schedule, label map (hmnet.md §2.4).

Shapes: b images, n base classes, (h, w) the network's map, S image side.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsbench.data.dataset import VOID
from fsbench.methods.modules.pspnet import PSPNet


def resized_logits(logits: Tensor, size: int) -> Tensor:
    """Resize logits (b, n + 1, h, w) to (b, n + 1, size, size), corners on corners."""
    return F.interpolate(logits, (size, size), mode="bilinear", align_corners=True)


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of logits (b, n + 1, h, w) with label maps (b, S, S), without void pixels (§2.4.3)."""
    return F.cross_entropy(resized_logits(logits, labels.shape[-1]), labels.long(), ignore_index=VOID)


def label_map(logits: Tensor, size: int) -> Tensor:
    """Return the classes 0..n (b, size, size) that logits (b, n + 1, h, w) are highest for (§2.4.5)."""
    return resized_logits(logits, size).argmax(1)


def sgd(model: PSPNet, learning_rate: float, index_split: int, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return SGD with three groups: layers 0 to 4, pyramid pooling, classifier (§2.4.4).

    Args:
        model: the network.
        learning_rate: rate of the groups up to `index_split`, counted from 0; later ones have ten times as much.
        index_split: -1 for ten times as much everywhere.
        momentum, weight_decay: of all groups, biases and BatchNorm included.
    """
    trunk: list[nn.Module] = [model.layer0, model.layer1, model.layer2, model.layer3, model.layer4]
    parts: list[list[nn.Module]] = [trunk, [model.ppm], [model.cls, model.base_learner]]
    groups = []
    for place, part in enumerate(parts):
        rate = learning_rate * (10 if place > index_split else 1)
        groups.append({"params": [p for module in part for p in module.parameters()], "lr": rate})
    return torch.optim.SGD(groups, learning_rate, momentum, weight_decay=weight_decay)
