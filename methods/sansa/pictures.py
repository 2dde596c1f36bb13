"""Pictures of a support's prompt, of the mask in memory, and of where the query attends to it.

Shapes: (D, D) an image, g cells of an encoding.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.sansa.pseudo_video import Prompt
from fsbench.networks.backbones.sam2_sam3 import remembered_frames

COLOR = (255, 120, 0)
"""Color (red, green, blue) in which a prompt is drawn."""
DIMMED = 0.35
"""Brightness of what is outside of a mask."""


def prompt_picture(image: Tensor, prompt: Prompt) -> Tensor:
    """Return a picture (D, D, 3) uint8 of a support with its prompt: bright mask pixels, or coloured points and boxes.

    Args:
        image: the support (3, D, D) uint8.
        prompt: mask or points that prompt SAM 2 on the support.
    """
    if isinstance(prompt, Tensor):
        return _dimmed_outside(image, prompt > 0)
    picture = (image.float() * 0.7).byte().permute(1, 2, 0).clone()
    color = torch.tensor(COLOR, dtype=torch.uint8, device=picture.device)
    reach = max(picture.shape[0] // 128, 1)
    corners = prompt.points[0][prompt.labels[0] > 1].long().tolist()
    if corners:
        (x1, y1), (x2, y2) = corners
        inner = picture[y1 + reach : y2 - reach, x1 + reach : x2 - reach].clone()
        picture[y1:y2, x1:x2] = color
        picture[y1 + reach : y2 - reach, x1 + reach : x2 - reach] = inner
        return picture
    many = len(prompt.points[0]) > 100  # pixels of scribbles, which lie side by side
    for x, y in prompt.points[0].long().tolist():
        around = 0 if many else reach
        picture[max(y - around, 0) : y + around + 1, max(x - around, 0) : x + around + 1] = color
    return picture


def memory_picture(image: Tensor, logits: Tensor) -> Tensor:
    """Return a picture (D, D, 3) uint8 of a support, bright where its mask in SAM 2's memory is.

    `image` is (3, D, D) uint8, `logits` (4g, 4g) are those of the mask in memory.
    """
    full = F.interpolate(logits[None, None], image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    return _dimmed_outside(image, full > 0)


def _dimmed_outside(image: Tensor, mask: Tensor) -> Tensor:
    picture = torch.where(mask.to(image.device), image.float(), image.float() * DIMMED)
    return picture.byte().permute(1, 2, 0)


class MemoryAttention:
    """Attention function for transformers' modules, which keeps the weights of SAM 2's last memory attention layer.

    Args:
        model: SAM 2.
    """

    def __init__(self, model: Any):
        self.last = model.memory_attention.layers[-1].cross_attn_image
        self.weights: Tensor | None = None

    def __call__(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, scaling: float, **_: Any
    ) -> tuple[Tensor, Tensor]:
        weights = (query @ key.transpose(2, 3) * scaling).softmax(-1)
        if module is self.last:
            self.weights = weights[0, 0]
        return (weights @ value).transpose(1, 2).contiguous(), weights

    def share(self, in_memory: Sequence[Tensor]) -> Tensor:
        """Return for each cell (g, g) of the query the share of its attention that goes to masked cells in memory.

        Args:
            in_memory: logits (1, 4g, 4g) of the mask in each earlier frame's memory.
        """
        assert self.weights is not None
        side = round(self.weights.shape[0] ** 0.5)
        frames = [in_memory[s] for s, _ in remembered_frames(len(in_memory))]
        inside = torch.cat([F.adaptive_avg_pool2d((logits > 0).float(), side).flatten() for logits in frames])
        return (self.weights[:, : len(inside)] @ inside).reshape(side, side)
