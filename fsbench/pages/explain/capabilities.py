"""Optional members of a method that `fsbench explain` draws."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from fsbench.data.batch import EpisodeBatch


@runtime_checkable
class HasSupportAttention(Protocol):
    """A method that attends to its supports."""

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return the attention (K, s, s) of a query point to the supports of the first way.

        `row` and `column` are shares of height and width. Keys: "attention", and "without the mask" of methods that
        attend under the supports' masks.
        """
