"""Write sheets: rows of captioned panels as one PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from fsbench.files import replacing

CAPTION = 16
"""Height of a caption in pixels."""
GAP = 4
"""Pixels between tiles."""
Panel = tuple[str, np.ndarray]
"""A caption and an image (H, W, 3) uint8."""


def write_sheet(path: Path, rows: Sequence[Sequence[Panel]], tile: tuple[int, int]) -> None:
    """Write rows of panels as a PNG.

    Args:
        path: Where to write.
        rows: Panels; shorter rows end in white.
        tile: Width and height that every panel is fitted into, keeping its proportions.
    """
    from torchvision.utils import make_grid  # slow to import

    columns = max(map(len, rows))
    blank = ("", np.full((tile[1], tile[0], 3), 255, dtype=np.uint8))
    tiles = [_draw_tile(panel, tile) for row in rows for panel in [*row, *[blank] * (columns - len(row))]]
    grid = make_grid(torch.stack(tiles), nrow=columns, padding=GAP, pad_value=255)
    with replacing(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(temporary, format="PNG")


def _draw_tile(panel: Panel, size: tuple[int, int]) -> torch.Tensor:
    """Draw a panel below its caption; returns (3, height + CAPTION, width) uint8."""
    caption, pixels = panel
    width, height = size
    image = Image.fromarray(pixels)
    scale = min(width / image.width, height / image.height)
    fitted = max(1, round(scale * image.width)), max(1, round(scale * image.height))
    canvas = Image.new("RGB", (width, height + CAPTION), "white")
    canvas.paste(
        image.resize(fitted, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR), (0, CAPTION)
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((2, 2), _shorten(caption, draw, width - 4), fill="black")
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


def _shorten(text: str, draw: ImageDraw.ImageDraw, width: float) -> str:
    """Cut a text to `width` pixels."""
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
