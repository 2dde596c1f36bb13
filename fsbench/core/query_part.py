"""The part of a prediction that is left once its supports are known: what a method is exported as.

Shapes: N ways, S image side, (h, w) the size of a label map.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
    """A decision about every pixel of a query, and what it was made of.

    Attributes:
        label_map: (h, w) int64, 0 background, 1..N ways.
        values: (N + 1, h, w) in [0, 1], of background and ways, the largest of which decides; for ways that are each
            decided by themselves, the background has their threshold.
        present: (N,) bool; None for methods that only segment.
        score: (N,) float in [0, 1], how sure the method is that a way is present; None like `present`.
    """

    label_map: Tensor
    values: Tensor
    present: Tensor | None = None
    score: Tensor | None = None


class QueryPart(nn.Module):
    """A method with its supports built in, from a query's pixels to the decision.

    Subclasses keep what they know of the supports as buffers and their method, of which they take the steps of its own
    `forward`, as a module. No step may look at values of the query in Python: it is traced once, for all queries.

    Args:
        network: the method's frozen network for images of the side S, which is no part of the method itself.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor, size: tuple[int, int]) -> Decision:
        """Decide about a query.

        Args:
            pixels: (3, S, S) float32, normalised.
            size: (h, w) of the label map.
        """
        raise NotImplementedError
