"""Frames of a video as SegIC's program segments them, given the first one's masks (segic.md §9).

Shapes: n objects, m remembered frames, C channels, g side of the frozen network's grid, S image side.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fsbench.methods.segic.correspondence import best_points, prototypes, similarity
from fsbench.methods.segic.head import PointPrompts, SegICHead, at_original, at_square
from fsbench.networks.ops.first_largest import first_largest

INSTANCES = "please segment the instances"
"""Text of objects without a class (§5)."""


@dataclass(frozen=True)
class Frame:
    """A predicted frame.

    Attributes:
        prompts: points (n, n, 2) of all objects, and their labels (n, n), 1 for an object's own.
        tokens: (n, 1 + n·m, D).
        low_res: (n, 1, 4g, 4g) logits.
    """

    prompts: PointPrompts
    tokens: Tensor
    low_res: Tensor


class VideoMemory:
    """Prototypes of a video's objects in the frames so far; the first and the last are used.

    Args:
        head: learned part.
        first: features (C, g, g) of the first frame.
        masks: (n, S, S) of 0 and 1, of its objects.
        text: (·,) vector of the text, the same for all.
    """

    def __init__(self, head: SegICHead, first: Tensor, masks: Tensor, text: Tensor):
        self.head, self.text, self.side = head, text, masks.shape[-1]
        self._first = self._last = prototypes(first, masks)
        self._is_first = True

    def predict(self, features: Tensor) -> Frame:
        """Segment the next frame by its features (C, g, g), and remember it."""
        maps = similarity(self._first, features, self.side)
        count = len(maps)
        used = self._first[:, None] if self._is_first else torch.stack([self._first, self._last], 1)  # (n, m, C)
        is_own = torch.eye(count, dtype=torch.bool, device=maps.device)
        tokens = self.head.cross_tokens(
            self.text.expand(count, -1), used.flatten(0, 1), is_own.repeat_interleave(used.shape[1], 1)
        )
        given = PointPrompts(best_points(maps).expand(count, -1, -1), is_own.to(maps))
        sparse, dense = self.head.sparse(given, tokens, self.side), self.head.dense(maps)
        low_res = self.head.decode(self.head.neck_of(features), sparse, dense).low_res
        predicted = at_square(low_res, self.side)[:, 0] > 0
        self._last, self._is_first = prototypes(features, predicted.to(features)), False
        return Frame(given, tokens, low_res)


def segment_video(
    head: SegICHead,
    frames: Iterable[Tensor],
    masks: Tensor,
    text: Tensor,
    inner: tuple[int, int],
    size: tuple[int, int],
) -> Iterator[tuple[Tensor, Frame | None]]:
    """Segment a video.

    Args:
        head: learned part.
        frames: features (C, g, g) of its frames.
        masks: (n, S, S) of 0 and 1, of the first frame's objects.
        text: (·,) vector of `INSTANCES`.
        inner: (h, w) of a frame in the square.
        size: (H, W) of a frame.

    Yields:
        The label map (H, W) of each frame, 0 background and 1..n objects, and its prediction; None of the first.
    """
    memory: VideoMemory | None = None
    for features in frames:
        if memory is None:
            memory = VideoMemory(head, features, masks, text)
            found, logits = None, masks[:, None].to(features)
        else:
            found = memory.predict(features)
            logits = at_square(found.low_res, memory.side)
        maps = at_original(logits, inner, size)[:, 0]
        yield torch.where((maps > 0).any(0), first_largest(maps) + 1, 0), found
