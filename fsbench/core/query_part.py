"""The part of a prediction that is left once its supports are known: what a method is exported as.

Shapes: N ways, S image side, (h, w) the size of a label map.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Exportable:
    """Whether a method can be exported.

    Attributes:
        why_not: in a few words, what stands in the way; "" where nothing does.
    """

    why_not: str = ""

    def __bool__(self) -> bool:
        return not self.why_not


class Decision(NamedTuple):
    """A decision about every pixel of a query.

    Attributes:
        label_map: (h, w) int64, 0 background, 1..N ways.
        margin: (h, w) in [0, 1], the smallest change of a probability by which a pixel's label becomes another.
        present: (N,) bool; None for methods that only segment.
        score: (N,) float in [0, 1], how sure the method is that a way is present; None like `present`.
    """

    label_map: Tensor
    margin: Tensor
    present: Tensor | None = None
    score: Tensor | None = None


def margin_of_classes(probability: Tensor) -> Tensor:
    """Return the margin (h, w) of classes that compete: probabilities (N + 1, h, w), of which the largest decides."""
    first, second = probability.topk(2, 0).values
    return first - second


def margin_of_ways(probability: Tensor) -> Tensor:
    """Return the margin (h, w) of ways that are decided one by one: probabilities (N, h, w), each compared with 0.5,
    and where several are above with one another."""
    own = (probability - 0.5).abs().amin(0)
    return own if len(probability) == 1 else torch.minimum(own, margin_of_classes(probability))


class QueryPart(nn.Module):
    """A method with its supports built in, from a query's pixels to the decision.

    Subclasses keep what they know of the supports as buffers and their method, of which they take the steps of its own
    `forward`, as a module. No step may look at values of the query in Python: it is traced once, for all queries.

    Args:
        network: the method's frozen network for images of the side S, which is no part of the method itself; None where
            it is.
    """

    def __init__(self, network: nn.Module | None):
        super().__init__()
        self.network = network

    def keep(self, name: str, tensors: Iterable[Tensor]) -> None:
        """Build tensors in, under a name."""
        for number, tensor in enumerate(tensors):
            self.register_buffer(f"{name}_{number}", tensor)

    def kept(self, name: str) -> list[Tensor]:
        """Return the tensors that were built in under a name."""
        return [tensor for key, tensor in self.named_buffers(recurse=False) if key.rpartition("_")[0] == name]

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        """Decide about a query.

        Args:
            pixels: (3, S, S) float32, normalised.
            size: (h, w) of the label map.
        """
        raise NotImplementedError
