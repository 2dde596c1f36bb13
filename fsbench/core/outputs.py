"""Types that pass between a method and its base: outputs for queries, their truth in training, facts of the episode.

Shapes: B images, N ways, K shots, S image side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from fsbench.data.batch import Hints


@dataclass
class Output:
    """What `segment` returns for one way (class) of an episode; methods with more losses add fields.

    Attributes:
        logits: (B, 2, ·, ·) for B queries, at any height and width: background, then foreground.
        presence: (B, 2) logits of the way being absent from the query, or present; None for methods that only segment.
        attention: (B, ·, ·) in [0, 1], how much each query position resembles the supports' foreground; None for
            methods without such a map.
    """

    logits: Tensor
    presence: Tensor | None = None
    attention: Tensor | None = None


@dataclass
class Competition:
    """Logits of background and all ways together, for methods in which they compete for each pixel.

    Attributes:
        logits: (1, N + 1, ·, ·) for N ways, at any height and width, background first.
        present: (N,) bool, whether the query shows each way; None for methods that only segment.
        presence_score: (N,) in [0, 1], how sure the method is that each way is present; None where `present` is None.
        attention: (N, ·, ·) in [0, 1], how much each query position resembles each way's foreground; None for methods
            without such maps.
    """

    logits: Tensor
    present: Tensor | None = None
    presence_score: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """The ground truth of B one-way training queries: where each query shows its class.

    Attributes:
        labels: (B, S, S) uint8: 1 the class, 0 everything else, 255 void.
        present: (B,) bool, whether the query shows its class.
        classes: (B,) int64 class numbers.
        base_maps: for each query its label map of all base classes; empty unless the method needs them
            (`Needs.base_maps`).
    """

    labels: Tensor
    present: Tensor
    classes: Tensor
    base_maps: Sequence[Tensor]


@dataclass(frozen=True)
class Context:
    """Facts about the episode or training batch being answered, such as image size and episode numbers.

    Attributes:
        side: side S of the square images.
        episodes: numbers of the B episodes; a method's random draws may depend only on these numbers and a seed.
        classes: (B,) int64 class numbers in training; None elsewhere.
        images: (N, K) row numbers of an episode's supports in the batch; equal numbers mean the same image.
        shown: (N, K, S, S) uint8 label maps of all ways of the episode in every support (`EpisodeBatch.support_ways`).
        hints: further information about each of the B episodes; empty where the method asks for none.
        counted: (B, S, S) bool, pixels of the queries that are not padding (`EpisodeBatch.counted_pixels`).
        own_shots: number of supports of the way that is being read; None if no single way is read.
        base_classes: number of ways, at the beginning of the episode's ways, that are base classes without supports.
    """

    side: int
    episodes: tuple[int, ...] = ()
    classes: Tensor | None = None
    images: Tensor | None = None
    shown: Tensor | None = None
    hints: Sequence[Hints] = ()
    counted: Tensor | None = None
    own_shots: int | None = None
    base_classes: int = 0

    @cached_property
    def inner(self) -> tuple[int, int]:
        """Height and width of the query without padding; (S, S) if the padding is unknown.

        The query lies at the top left of its S x S square.
        """
        if self.counted is None:
            return self.side, self.side
        return int(self.counted[0].any(1).sum()), int(self.counted[0].any(0).sum())

    @property
    def shots(self) -> int:
        """K, the number of supports of the way that is being read, which are shown together; 0 in training."""
        return self.own_shots or (0 if self.images is None else self.images.shape[1])

    @property
    def episode(self) -> int | None:
        """Number of the episode being answered; None in training, or if it has none."""
        return self.episodes[0] if self.classes is None and self.episodes else None
