"""Pictures of what `fsbench.explain` finds: heat maps over images, rows of masks, scatter plots."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from fsbench.files import replacing
from fsbench.preprocess import resize_labels

TILE = 160
CAPTION = 16
SUPPORT, QUERY = (60, 110, 230), (230, 60, 60)  # blue and red, as in the paper's panels
RAMP = np.array([[0, 0, 80], [0, 100, 220], [60, 200, 160], [240, 220, 60], [220, 40, 30]], dtype=np.float64)
Panel = tuple[str, np.ndarray]
"""Caption and picture (h, w, 3) uint8."""


def image_of(pixels: Tensor) -> np.ndarray:
    """(3, S, S) uint8 -> (S, S, 3)."""
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def overlay(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A mask, of any size, over half of the image."""
    inside = resize_labels(mask.astype(np.uint8), *image.shape[:2])[..., None] == 1
    mixed = (image.astype(np.uint16) + np.array(colour, dtype=np.uint16)) // 2
    return np.where(inside, mixed, image).astype(np.uint8)


def heat(values: np.ndarray, image: np.ndarray | None = None, ends: tuple[float, float] | None = None) -> np.ndarray:
    """Values (h, w), the least (or the first of `ends`) blue, the greatest red; over half of `image` where one is
    given."""
    low, high = ends or (float(values.min()), float(values.max()))
    level = (values - low) / max(high - low, 1e-12) * (len(RAMP) - 1)
    lower = np.clip(level.astype(int), 0, len(RAMP) - 2)
    part = (level - lower)[..., None]
    colours = ((1 - part) * RAMP[lower] + part * RAMP[lower + 1]).astype(np.uint8)
    if image is None:
        return colours
    fitted = np.array(Image.fromarray(colours).resize(image.shape[1::-1], Image.Resampling.BILINEAR))
    return (fitted // 2 + image // 2).astype(np.uint8)


def mark(image: np.ndarray, row: int, column: int) -> np.ndarray:
    """A cross at a pixel."""
    picture = Image.fromarray(image.copy())
    draw = ImageDraw.Draw(picture)
    arm = max(4, image.shape[0] // 24)
    for shape in (((column - arm, row), (column + arm, row)), ((column, row - arm), (column, row + arm))):
        draw.line(shape, fill="white", width=5)
        draw.line(shape, fill="black", width=2)
    return np.array(picture)


def curves(found: dict[str, Tensor], below: str = "", side: int = 480) -> np.ndarray:
    """Curves (points,) of values up to 1 over a common axis from 0 (or their least value) to 1, with their names and
    what the other axis is."""
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    low, edge = min([0.0, *(float(c.min()) for c in found.values())]), 24
    height = side - 2 * edge

    def y(value: float) -> float:
        return edge + height * (1 - value) / (1 - low)

    for value in (0.0, 0.5, 1.0):
        draw.line((edge, y(value), side - edge, y(value)), fill=(210, 210, 210))
        draw.text((2, y(value) - 5), f"{value:g}", fill="black")
    for number, (name, curve) in enumerate(found.items()):
        colour = (QUERY, SUPPORT)[number % 2]
        step = (side - 2 * edge) / max(len(curve) - 1, 1)
        draw.line([(edge + i * step, y(float(v))) for i, v in enumerate(curve)], fill=colour, width=2)
        draw.text((0.55 * side, edge + 4 + 14 * number), name, fill=colour)
    draw.text((edge, side - edge + 6), below, fill="black")
    return np.array(picture)


def scatter(points: np.ndarray, labels: np.ndarray, side: int = 480) -> np.ndarray:
    """Points (n, 2), those of label 1 red on the others, which are blue."""
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    low, high = points.min(0), points.max(0)
    places = 10 + (points - low) / np.maximum(high - low, 1e-12) * (side - 20)
    for label, colour in ((0, SUPPORT), (1, QUERY)):
        for x, y in places[labels == label]:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
    return np.array(picture)


def sheet(path: Path, rows: Sequence[Sequence[Panel]], tile: int = TILE) -> None:
    """Write rows of pictures with captions as PNG."""
    width = max(len(row) for row in rows) * (tile + 4)
    canvas = Image.new("RGB", (width, len(rows) * (tile + CAPTION + 4)), "white")
    draw = ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        for j, (caption, picture) in enumerate(row):
            x, y = j * (tile + 4), i * (tile + CAPTION + 4)
            shown = Image.fromarray(picture)
            kind = Image.Resampling.NEAREST if shown.width < tile else Image.Resampling.BILINEAR
            canvas.paste(shown.resize((tile, tile), kind), (x, y + CAPTION))
            draw.text((x + 2, y + 2), caption[: tile // 6], fill="black")
    with replacing(path) as temporary:
        canvas.save(temporary, format="PNG")
