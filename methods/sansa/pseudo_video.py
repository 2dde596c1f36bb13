"""Supports and query as the frames of a short video (sansa.md §4).

A support's frame is prompted, the others attend to the memory of all frames before them.

Shapes: b videos, T frames, C channels, g = S / 16, (D, D) an image, n points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.methods.sansa.prompts import in_square, prompt_mask
from fsbench.networks.backbones.sam2_sam3 import (
    EncodedFrames,
    PointPrompts,
    attend_to_memory,
    decode_frames,
    embed_points,
    memory_of_frames,
)

Prompt = Tensor | PointPrompts
"""A support's prompt: its mask (D, D), or points of one frame in pixels of the image."""


@dataclass(frozen=True)
class Frame:
    """The answer to a frame of b videos, and what later frames know of it.

    Attributes:
        low_res: (b, 4g, 4g) logits; None where they were not asked for.
        memory: (b, 64, g, g); None for a last frame.
        pointer: (b, C).
        in_memory: (b, 4g, 4g) logits of the mask that its memory is made of; None for a last frame.
        conditioned: (b, C, g, g) the deep map after memory; None of a prompted frame.
    """

    low_res: Tensor | None
    memory: Tensor | None
    pointer: Tensor
    in_memory: Tensor | None = None
    conditioned: Tensor | None = None


def mask_logits(square: Tensor) -> Tensor:
    """Return the logits (b, S/4, S/4) that a mask prompt (b, S, S) of 0 and 1 puts into memory."""
    size = square.shape[-1] // 4
    logits = F.interpolate(
        (20 * square - 10)[:, None], (size, size), mode="bilinear", align_corners=False, antialias=True
    )  # fmt: skip
    return logits[:, 0]


def mask_frame(model: Any, frames: EncodedFrames, masks: Tensor, answers: bool) -> Frame:
    """Prompt frames with masks.

    Their memory is made of the masks, the object's pointer of the decoder's answer, which knows no memory.

    Args:
        model: SAM 2.
        frames: b encodings.
        masks: (b, D, D) of 0 and 1.
        answers: whether the decoder's masks are asked for.
    """
    with torch.no_grad():
        square = prompt_mask(masks, model.image_size)
        dense = model.prompt_encoder.mask_embed(model.mask_downsample(square[:, None]))
        tokens = embed_points(model, None, len(masks))
        logits = mask_logits(square)
    decoded = decode_frames(model, frames, frames.deep, tokens, dense, best=False, masks=answers)
    return Frame(decoded.low_res, memory_of_frames(model, frames.deep, logits), decoded.pointer, logits)


def point_frame(model: Any, frames: EncodedFrames, prompts: PointPrompts, size: tuple[int, int]) -> Frame:
    """Prompt frames with points of images of this size (H, W); their memory is the decoder's mask."""
    with torch.no_grad():
        tokens = embed_points(model, in_square(prompts, size, model.image_size), len(frames.deep))
    deep = frames.deep + model.no_memory_embedding.view(1, -1, 1, 1)
    decoded = decode_frames(model, frames, deep, tokens, None, best=False)
    assert decoded.low_res is not None
    memory = memory_of_frames(model, frames.deep, decoded.low_res)
    return Frame(decoded.low_res, memory, decoded.pointer, decoded.low_res)


def prompted_frame(
    model: Any, frames: EncodedFrames, prompts: Sequence[Prompt], size: tuple[int, int], answers: bool = True
) -> Frame:
    """Prompt a frame of each of b videos; masks are decoded together, points of unequal number one by one.

    Args:
        model: SAM 2.
        frames: b encodings.
        prompts: one for each.
        size: (H, W) of the images.
        answers: whether the masks of frames that a mask prompts are asked for.
    """
    masks = [prompt for prompt in prompts if isinstance(prompt, Tensor)]
    if len(masks) == len(prompts):
        return mask_frame(model, frames, torch.stack(masks), answers)
    parts = []
    for i, prompt in enumerate(prompts):
        one = frames[i : i + 1]
        if isinstance(prompt, PointPrompts):
            parts.append(point_frame(model, one, prompt, size))
        else:
            parts.append(mask_frame(model, one, prompt[None], answers=True))
    low_res, memory, in_memory = (
        torch.cat([value for part in parts if (value := getattr(part, name)) is not None])
        for name in ("low_res", "memory", "in_memory")
    )
    return Frame(low_res, memory, torch.cat([part.pointer for part in parts]), in_memory)


def target_frame(model: Any, frames: EncodedFrames, earlier: Sequence[Frame], last: bool) -> Frame:
    """Segment a frame by the memory of the earlier ones, of which there is one at least; a last one is not kept."""
    memories = [frame.memory for frame in earlier if frame.memory is not None]
    deep = attend_to_memory(model, frames.deep, memories, [frame.pointer for frame in earlier])
    tokens = embed_points(model, None, len(deep))
    decoded = decode_frames(model, frames, deep, tokens, None, best=True)
    assert decoded.low_res is not None
    memory = None if last else memory_of_frames(model, frames.deep, decoded.low_res)
    return Frame(decoded.low_res, memory, decoded.pointer, None if last else decoded.low_res, deep)


@dataclass
class PseudoVideo:
    """b videos, whose frames come one after the other.

    Attributes:
        model: SAM 2.
        size: (H, W) of the images.
        frames: answers to the frames so far.
    """

    model: Any
    size: tuple[int, int]
    frames: list[Frame] = field(default_factory=list)

    def prompt(self, encoded: EncodedFrames, prompts: Sequence[Prompt], answers: bool = True) -> Frame:
        """Add prompted frames, see `prompted_frame`."""
        self.frames.append(prompted_frame(self.model, encoded, prompts, self.size, answers))
        return self.frames[-1]

    def segment(self, encoded: EncodedFrames, last: bool = False) -> Frame:
        """Add frames without a prompt, see `target_frame`."""
        self.frames.append(target_frame(self.model, encoded, self.frames, last))
        return self.frames[-1]


def full_size(low_res: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (b, 4g, 4g) to images (b, H, W)."""
    return F.interpolate(low_res[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
