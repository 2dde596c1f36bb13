"""Optional members of a method that `fsbench explain` draws."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from fsbench.data.batch import EpisodeBatch


@runtime_checkable
class HasSupportAttention(Protocol):
    """Protocol for methods that can return their attention to the supports."""

    def support_attention(self, episode: EpisodeBatch, row: float, column: float) -> dict[str, Tensor]:
        """Return the attention (K, s, s) of a query point to the supports of the first way.

        The result is {"attention": (K, s, s)}, s being the side of the feature map. Methods that attend only within the
        supports' masks also have "without the mask": (K, s, s).

        Args:
            episode: a batch of one episode with K shots.
            row, column: the query point, as shares from 0 to 1 of the image's height and width.
        """
