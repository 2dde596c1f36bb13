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
    """What `segment` returns for one way: logits, and optional further values; methods with more losses extend it.

    Attributes:
        logits: (B, 2, ·, ·) at any size; the second is the foreground's.
        presence: (B, 2) logits of the way's presence in the query.
        attention: (B, ·, ·) in [0, 1], see `Prediction.attention`.
    """

    logits: Tensor
    presence: Tensor | None = None
    attention: Tensor | None = None


@dataclass
class Competition:
    """Logits of background and all ways together, for methods in which they compete for each pixel.

    Attributes:
        logits: (1, N + 1, ·, ·), background first.
        present: (N,) bool, and its score (N,) in [0, 1]; None of methods that only segment.
        attention: (N, ·, ·), see `Prediction.attention`.
    """

    logits: Tensor
    present: Tensor | None = None
    presence_score: Tensor | None = None
    attention: Tensor | None = None


@dataclass(frozen=True)
class Target:
    """The truth about training queries: where each shows its way.

    Attributes:
        labels: (B, S, S) uint8: 1 the way, 0 all else, 255 void.
        present: (B,) bool.
        classes: (B,) int64 numbers of the ways' classes.
        base_maps: see `fsbench.data.batch.Truth`; empty unless the method needs them.
    """

    labels: Tensor
    present: Tensor
    classes: Tensor
    base_maps: Sequence[Tensor]


@dataclass(frozen=True)
class Context:
    """Facts about the episode or training batch being answered: sizes, number, hints, labels of other ways.

    Attributes:
        side: S.
        episodes: numbers of the B episodes, which together with a seed are all that a draw may depend on.
        classes: (B,) int64 numbers of the ways' classes in training; None elsewhere.
        images: (N, K) numbers of an episode's supports; equal ones are the same image.
        shown: (N, K, S, S) uint8, all that supports show of their episode, see `EpisodeBatch.support_ways`.
        hints: the hints of the B episodes; none where the method asks for none.
        counted: (B, S, S) bool, pixels of the queries that may be looked at, see `EpisodeBatch.counted_pixels`.
        base_classes: number of an episode's first ways, which have no support: base classes that it asks for.
    """

    side: int
    episodes: tuple[int, ...] = ()
    classes: Tensor | None = None
    images: Tensor | None = None
    shown: Tensor | None = None
    hints: Sequence[Hints] = ()
    counted: Tensor | None = None
    base_classes: int = 0

    @cached_property
    def inner(self) -> tuple[int, int]:
        """Height and width of the query without padding, at the top left of its square; S if unknown."""
        if self.counted is None:
            return self.side, self.side
        return int(self.counted[0].any(1).sum()), int(self.counted[0].any(0).sum())

    @property
    def episode(self) -> int | None:
        """Number of the episode being answered; None in training, or if it has none."""
        return self.episodes[0] if self.classes is None and self.episodes else None
