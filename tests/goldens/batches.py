"""Training batches of images that a formula gives: they are normalised already, and not of 256 values."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fsbench.data.batch import EpisodeBatch, Truth, image_key


class NormalisedBatch(EpisodeBatch):
    """Episodes whose images `normalised` (M, 3, S, S) are what a network sees."""

    normalised: Tensor

    @property
    def image_keys(self) -> list[str]:
        return [image_key(image) for image in self.normalised]

    def pixels(self, row: int) -> Tensor:
        return self.normalised[row]


def training_batch(
    query: Tensor,
    supports: Tensor,
    labels: Tensor,
    target: Tensor,
    classes: Tensor | None = None,
    base_maps: Sequence[Tensor] = (),
) -> NormalisedBatch:
    """Return a batch of b episodes of one way.

    Args:
        query: (b, 3, S, S).
        supports: (b, K, 3, S, S).
        labels: of the supports (b, K, S, S).
        target: of the queries (b, S, S).
        classes: (b,) numbers of the classes.
        base_maps: b maps (S, S) of base classes.
    """
    b, shots = supports.shape[:2]
    rows, ones = torch.arange(b * (1 + shots)), torch.ones(b, 1, dtype=torch.int64)
    numbers = ones if classes is None else classes[:, None]
    batch = NormalisedBatch(
        images=torch.zeros(len(rows), *query.shape[1:], dtype=torch.uint8),
        image_names=[f"{row}" for row in rows.tolist()],
        query=rows[:b],
        support=rows[b:].view(b, 1, shots),
        support_labels=labels[:, None].to(torch.uint8),
        valid=torch.ones(b, 1, shots, dtype=torch.bool),
        query_sizes=torch.tensor([target.shape[1:]] * b),
        episodes=torch.arange(b),
        truth=Truth(list(target.to(torch.uint8)), ones > 0, numbers, list(base_maps)),
    )
    batch.normalised = torch.cat([query, supports.flatten(0, 1)])
    return batch
