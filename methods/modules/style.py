"""Distance of styles between query and supports, by which the ensemble trusts the meta learner (hmnet.md §9.2).

Shapes: b samples, K shots, c channels.
"""

from torch import Tensor, nn


def gram(x: Tensor) -> Tensor:
    """Return the cosines between channels: (b, c, h, w) -> (b, c, c), in fp32."""
    flat = x.float().flatten(2)
    norm = flat.norm(dim=2)
    return flat @ flat.mT / (norm[:, :, None] * norm[:, None] + 1e-7)


def gram_distance(query: Tensor, support: Tensor) -> Tensor:
    """Return the distance of styles of each shot: (b, c, h, w), (b, K, c, h, w) -> (b, K, 1, 1)."""
    query_gram = gram(query)[:, None]
    support_gram = gram(support.flatten(0, 1)).unflatten(0, support.shape[:2])
    return ((query_gram - support_gram).norm(dim=(2, 3)) / query.shape[1])[..., None, None]


def shot_weights(distances: Tensor, reweight: nn.Module) -> Tensor:
    """Return learned weights (b, K, 1, 1) of the shots' distances (b, K, 1, 1).

    They are in the order of the *sorted* distances: the authors' way back to the order of the shots is the identity,
    and their checkpoints were trained with it.
    """
    weights: Tensor = reweight(distances.sort(1).values)
    return weights.softmax(1)


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
