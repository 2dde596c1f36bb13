"""Distance of styles between query and supports, by which the ensemble trusts the meta learner (hmnet.md §9.2).

Shapes: b samples, K shots, c channels.
"""

import torch
from torch import Tensor, nn

from fsbench.methods.modules.maps import widened


def gram(x: Tensor) -> Tensor:
    """Return the cosines between channels: (b, c, h, w) -> (b, c, c), in fp32 or more."""
    flat = widened(x).flatten(2)
    norm = flat.norm(dim=2)
    return flat @ flat.mT / (norm[:, :, None] * norm[:, None] + 1e-7)


def gram_distance(query: Tensor, support: Tensor) -> Tensor:
    """Return the distance of styles of each shot, of `gram`s: (b, c, c), (b, K, c, c) -> (b, K, 1, 1)."""
    return ((query[:, None] - support).norm(dim=(2, 3)) / query.shape[1])[..., None, None]


def shot_weights(distances: Tensor, reweight: nn.Module, sorted_order: bool) -> Tensor:
    """Return learned weights (b, K, 1, 1) of the shots, which follow from their distances in ascending order.

    Args:
        distances: (b, K, 1, 1).
        reweight: see `reweight_network`.
        sorted_order: leave the weights in the order of the sorted distances, as HMNet's authors do, whose way back to
            the order of the shots is the identity (hmnet.md §9.2); otherwise each shot has the weight of its own
            distance (bam.md §4).
    """
    values, order = distances.sort(stable=True, dim=1)
    weights: Tensor = reweight(values).softmax(1)
    return weights if sorted_order else torch.zeros_like(weights).scatter(1, order, weights)


def reweight_network(shots: int, width: int) -> nn.Module:
    """Build the network from sorted distances (b, K, 1, 1) to the shots' weights before the softmax.

    Args:
        shots: K.
        width: hidden channels; 0 builds one layer that starts as the mean.
    """
    if width:
        return nn.Sequential(nn.Conv2d(shots, width, 1), nn.ReLU(), nn.Conv2d(width, shots, 1))
    conv = nn.Conv2d(shots, shots, 1, bias=False)
    nn.init.constant_(conv.weight, 1 / shots)
    return conv
