"""Each query token takes the label of the most similar support token."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.core.segmenter import Segmenter


class Mine(Segmenter):
    """Training-free; K shots are K answers, whose probabilities are averaged."""

    learns = False  # no loss, no optimiser: the runner goes straight to the evaluation
    shots = "average"

    def query(self, image: Tensor) -> Tensor:
        """Return unit tokens (B, T, C) of the last block of any network, whose features are (B, blocks, 1 + T, C)."""
        return F.normalize(image[:, -1, 1:], dim=-1)

    def support(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Labelled images: their tokens (B, T, C), and which of the patches show the way (B, T)."""
        tokens = self.query(image)
        side = round(tokens.shape[1] ** 0.5)
        return tokens, F.adaptive_avg_pool2d(mask.float(), side).flatten(1) > 0.5

    def segment(self, query: Tensor, support: tuple[Tensor, Tensor]) -> Tensor:
        """Logits (B, 2, side, side) of background and way: the cosine with the nearest token of each."""
        tokens, inside = support
        similar = query @ tokens.mT
        rest, own = (similar.masked_fill(other[:, None], -1).amax(-1) for other in (inside, ~inside))
        side = round(query.shape[1] ** 0.5)
        return torch.stack([rest, own], 1).unflatten(2, (side, side))
