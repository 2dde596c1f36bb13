"""Supports and query as the frames of a short video (sansa.md §4).

A support's frame is prompted, the others attend to the memory of all frames before them.

Shapes: b videos, C channels, g = S / 16, (D, D) an image, n points.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

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


class Frame(NamedTuple):
    """SAM 2's prediction for one frame of each of b videos, and its memory for later frames.

    Attributes:
        low_res: logits (b, 4g, 4g) of the predicted mask.
        pointer: vector (b, C) that stands for the object in memory.
        memory: memory features (b, 64, g, g).
        in_memory: logits (b, 4g, 4g) of the mask from which `memory` is computed.
    """

    low_res: Tensor
    pointer: Tensor
    memory: Tensor
    in_memory: Tensor


def mask_logits(square: Tensor) -> Tensor:
    """Convert mask prompts (b, S, S) of 0 and 1 to the logits (b, S/4, S/4) from which SAM 2's memory is computed."""
    logits, size = (20 * square - 10)[:, None], 2 * [square.shape[-1] // 4]
    return F.interpolate(logits, size, mode="bilinear", align_corners=False, antialias=True)[:, 0]


def mask_frame(model: Any, frames: EncodedFrames, masks: Tensor) -> Frame:
    """Prompt one frame of each of b videos with masks (b, D, D) of 0 and 1.

    The frame's memory is computed from the mask; its object pointer comes from the mask decoder, without memory.
    """
    with torch.no_grad():
        square = prompt_mask(masks, model.image_size)
        dense = model.prompt_encoder.mask_embed(model.mask_downsample(square[:, None]))
        tokens = embed_points(model, None, len(masks))
        logits = mask_logits(square)
    low_res, pointer = decode_frames(model, frames, frames.deep, tokens, dense, best=False)
    return Frame(low_res, pointer, memory_of_frames(model, frames.deep, logits), logits)


def point_frame(model: Any, frames: EncodedFrames, prompts: PointPrompts, size: tuple[int, int]) -> Frame:
    """Prompt one frame of each of b videos with points.

    The frame's memory is computed from the mask that the decoder predicts.

    Args:
        model: SAM 2.
        frames: encodings of the frames.
        prompts: the points, in pixels of the images.
        size: (H, W) of the images.
    """
    with torch.no_grad():
        tokens = embed_points(model, in_square(prompts, size, model.image_size), len(frames.deep))
    deep = frames.deep + model.no_memory_embedding.view(1, -1, 1, 1)
    logits, pointer = decode_frames(model, frames, deep, tokens, None, best=False)
    return Frame(logits, pointer, memory_of_frames(model, frames.deep, logits), logits)


def prompted_frame(model: Any, frames: EncodedFrames, prompts: Sequence[Prompt], size: tuple[int, int]) -> Frame:
    """Prompt one frame of each of b videos; masks are decoded together, points of unequal number one by one.

    Args:
        model: SAM 2.
        frames: encodings of the b frames.
        prompts: for each of the b frames a mask or points.
        size: (H, W) of the images.
    """
    masks = [prompt for prompt in prompts if isinstance(prompt, Tensor)]
    if len(masks) == len(prompts):
        return mask_frame(model, frames, torch.stack(masks))
    parts = []
    for i, prompt in enumerate(prompts):
        one = frames[i : i + 1]
        if isinstance(prompt, Tensor):
            parts.append(mask_frame(model, one, prompt[None]))
        else:
            parts.append(point_frame(model, one, prompt, size))
    return Frame(*(torch.cat(part) for part in zip(*parts, strict=True)))


def target_frame(model: Any, frames: EncodedFrames, earlier: Sequence[Frame]) -> tuple[Tensor, Tensor]:
    """Segment a frame without prompt from the memory of one or more earlier frames.

    Returns:
        Logits (b, 4g, 4g) of the mask, and object pointers (b, C).
    """
    memories, pointers = [frame.memory for frame in earlier], [frame.pointer for frame in earlier]
    deep = attend_to_memory(model, frames.deep, memories, pointers)
    return decode_frames(model, frames, deep, embed_points(model, None, len(deep)), None, best=True)
