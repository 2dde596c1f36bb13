"""Annotations of supports that say less than their masks: box, points, scribbles (vrp-sam.md §3), a share.

`draw_annotation(masks, kind, streams)` is the one function for all methods. `draw_label` puts what it draws in place of
a support's mask in a test (`--support-annotation`). `AnnotationStreams.of_episode(seed, episode)` is our stream: what
is drawn depends on nothing else. `AnnotationStreams.seeded(seed)` is that of the VRP-SAM authors' program, which goes
on through a whole validation and draws for a batch at a time. `keep_share` leaves a share of a mask.

Shapes: b masks, (H, W) an image, n points or strokes.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fsbench.data.dataset import VOID

Annotation = Literal["mask", "box", "point", "scribble"]
"""Kinds of annotations: the mask itself, its filled box, single pixels of it, brush strokes within it."""
MOST = 20
"""Largest number of points, or of strokes, on a mask."""
POINT_RADIUS = 1 / 64
"""Radius of the disc that stands for a point in place of a mask, as a share of the image's side (ours): single pixels
mostly vanish on the coarse grids that methods reduce masks to."""
EVALUATION_SEED = 321
"""Seed of the number of strokes in evaluation."""


@dataclass(frozen=True)
class Brush:
    """Ranges of the random numbers that decide how a scribble's brush strokes look.

    Attributes:
        width: least and (excluded) largest width of the line in pixels.
        vertices: least and (excluded) largest number of vertices beyond the first.
        speed, acceleration: largest distance in pixels from one vertex to the next, and its largest change.
        motion, motion_change: scales of the movement of the whole stroke.
        shift: least and (excluded) largest shift of a single vertex in pixels.
    """

    width: tuple[int, int]
    vertices: tuple[int, int]
    speed: float
    acceleration: float
    motion: float
    motion_change: float
    shift: tuple[int, int]


LARGE = Brush((3, 10), (10, 30), speed=20, acceleration=15, motion=6, motion_change=5, shift=(-3, 3))
SMALL = Brush((2, 5), (6, 22), speed=12, acceleration=8, motion=3, motion_change=3, shift=(-1, 1))


@dataclass(frozen=True)
class AnnotationStreams:
    """Random generators from which weak annotations (points, scribbles) are drawn.

    Attributes:
        places: permutes the pixels of a mask, to choose points and the starts of strokes.
        strokes: decides how strokes continue.
        amounts: decides, in training, the number of points or strokes and the brush; None in evaluation, where number
            and brush are fixed.
    """

    places: torch.Generator
    strokes: np.random.RandomState
    amounts: random.Random | None = None

    @classmethod
    def seeded(cls, seed: int, amounts: random.Random | None = None) -> "AnnotationStreams":
        """Return generators that both have the same seed, as the VRP-SAM authors seed torch and NumPy."""
        return cls(torch.Generator().manual_seed(seed), np.random.RandomState(seed), amounts)

    @classmethod
    def of_episode(cls, seed: int, episode: int, epoch: int | None = None) -> "AnnotationStreams":
        """Return generators seeded by a run's seed and an episode's number.

        Args:
            seed: 0 or more.
            episode: 0 or more.
            epoch: epoch of the training, 0 or more, so that annotations differ between epochs and their amounts are
                random; None in evaluation.
        """
        numbers = (seed, episode) if epoch is None else (seed, episode, epoch + 1)
        words = np.random.SeedSequence(numbers).generate_state(3, np.uint64)
        places, strokes, amounts = (int(word) for word in words)
        return cls(
            torch.Generator().manual_seed(places % 2**32),
            np.random.RandomState(strokes % 2**32),
            None if epoch is None else random.Random(amounts),
        )


def draw_annotation(masks: Tensor, kind: Annotation, streams: AnnotationStreams, idle_draws: bool = True) -> Tensor:
    """Draw weak annotations (boxes, points, scribbles) of masks.

    In evaluation a mask gets up to 20 points, or strokes of a large brush whose number has a fixed seed: 9 on masks of
    20 pixels or more. In training the number is drawn from 1 to 20, and the brush is large or small. As in the VRP-SAM
    authors' program, the largest number is bounded by the pixels of all given masks together; so pass one mask at a
    time to avoid that. An empty mask gets an empty annotation.

    Args:
        masks: (..., H, W) of 0 and 1, or bool.
        kind: "mask", "box", "point" or "scribble".
        streams: the random generators, used for one mask after the other; "mask" and "box" use none.
        idle_draws: draw two unused random numbers for each stroke, as VRP-SAM's program does.

    Returns:
        Annotations of the masks' shape, type and device.
    """
    if kind == "mask":
        return masks
    planes = masks.reshape(-1, *masks.shape[-2:]).cpu() > 0
    if kind == "box":
        drawn = torch.stack([filled_box(plane) for plane in planes])
    else:
        most = min(MOST, int(planes.sum()))
        if not most:
            return torch.zeros_like(masks)
        if kind == "point":
            count = streams.amounts.randint(1, most) if streams.amounts else most
            drawn = torch.stack([points(plane, count, streams.places) for plane in planes])
        else:
            brush, amounts = LARGE, streams.amounts
            if amounts is not None:
                brush = amounts.choice((LARGE, SMALL))
            strokes = (amounts or random.Random(EVALUATION_SEED)).randint(1, most)
            drawn = torch.stack([scribble(plane, strokes, brush, streams, idle_draws) for plane in planes])
    return drawn.view(masks.shape).to(masks)


def draw_label(
    label: np.ndarray, kind: Annotation, streams: AnnotationStreams, objects: Sequence[np.ndarray] | None = None
) -> np.ndarray:
    """Draw the weak label that replaces a support's mask.

    The result has no void, which would show the object's outline.

    Args:
        label: (S, S) uint8, 1 on the mask.
        kind: the kind of annotation; points become discs within the mask.
        streams: the random generators of an episode's way (class), used for one support after the other.
        objects: masks (S, S) bool of the single objects, each of which is annotated by itself; None to annotate the
            mask as a whole.

    Returns:
        (S, S) uint8 of 0 and 1.
    """
    mask = torch.from_numpy(label == 1)
    parts = [mask] if objects is None else [torch.from_numpy(part) & mask for part in objects]
    drawn = torch.zeros_like(mask)
    for part in parts:
        drawn |= draw_annotation(part, kind, streams)
    if kind == "point":
        drawn = discs(drawn, round(POINT_RADIUS * len(mask))) & mask
    return drawn.to(torch.uint8).numpy()


def discs(pixels: Tensor, radius: int) -> Tensor:
    """Return discs (H, W) bool of `radius` pixels around marked pixels (H, W) bool."""
    reach = torch.arange(-radius, radius + 1)
    disc = (reach[:, None] ** 2 + reach**2 <= radius**2).nonzero() - radius
    covered = (pixels.nonzero()[:, None] + disc).flatten(0, 1)
    inside = ((covered >= 0) & (covered < torch.tensor(pixels.shape))).all(1)
    drawn = torch.zeros_like(pixels)
    drawn[tuple(covered[inside].T)] = True
    return drawn


def box_corners(mask: Tensor) -> tuple[int, int, int, int]:
    """Return x1, y1, x2, y2 of the tight box of a mask (H, W) bool, ends excluded; zeros if it is empty."""
    if not mask.any():
        return 0, 0, 0, 0
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def filled_box(mask: Tensor) -> Tensor:
    """Return the tight box (H, W) bool of a mask (H, W) bool."""
    x1, y1, x2, y2 = box_corners(mask)
    box = torch.zeros_like(mask)
    box[y1:y2, x1:x2] = True
    return box


def start_pixels(mask: Tensor, count: int, places: torch.Generator) -> Tensor:
    """Draw up to `count` pixels of a mask (H, W) bool without replacement, as flat indices (n,) int64."""
    pixels = mask.flatten().nonzero()[:, 0]
    return pixels[torch.randperm(len(pixels), generator=places)[:count]]


def points(mask: Tensor, count: int, places: torch.Generator) -> Tensor:
    """Return a mask (H, W) bool of up to `count` single pixels drawn from a mask (H, W) bool."""
    drawn = torch.zeros_like(mask).flatten()
    drawn[start_pixels(mask, count, places)] = True
    return drawn.view_as(mask)


def start_points(mask: Tensor, count: int, places: torch.Generator) -> Tensor:
    """Draw up to `count` starting points of strokes on a mask (H, W) bool: (n, 2) float32, x and y.

    As in the VRP-SAM authors' program y has the fraction x / W.
    """
    pixels, width = start_pixels(mask, count, places), mask.shape[1]
    return torch.stack([(pixels % width).float(), pixels / width], 1)


@dataclass
class Stroke:
    """A brush stroke of a scribble.

    Attributes:
        vertices: (n, 2) x and y, float64; may lie outside the image.
        width: the width of the line in pixels.
        motion: (distance in pixels, direction in radians) by which the whole stroke is moved before painting.
    """

    vertices: np.ndarray
    width: int
    motion: tuple[float, float]


def new_stroke(start: Sequence[float], brush: Brush, stream: np.random.RandomState) -> Stroke:
    """Draw a random stroke of `brush` that starts at `start` (x, y)."""
    width, count = stream.randint(*brush.width), stream.randint(*brush.vertices)
    angle, speed = stream.uniform(0, 2 * math.pi), stream.uniform(0, brush.speed)
    vertices = [(float(start[0]), float(start[1]))]
    for _ in range(count):
        speed += stream.uniform(-brush.acceleration, brush.acceleration)
        angle += stream.uniform(-0.5, 0.5)
        speed = min(max(speed, 0), brush.speed)
        x, y = vertices[-1]
        vertices.append((x + speed * math.sin(angle), y + speed * math.cos(angle)))
    motion = abs(stream.normal(0, brush.motion / 2)), stream.uniform(0, 2 * math.pi)
    return Stroke(np.array(vertices), int(width), motion)


def moved(stroke: Stroke, brush: Brush, stream: np.random.RandomState, idle_draws: bool = True) -> Stroke:
    """Return a stroke after moving the whole stroke, and half of its vertices one by one, at random.

    Args:
        stroke: the stroke.
        brush: the brush that it was drawn with.
        stream: the random generator.
        idle_draws: draw two unused random numbers as well, as VRP-SAM's program does and SANSA's does not.
    """
    distance, angle = stroke.motion
    way = np.array([int(distance * math.cos(angle)), int(distance * math.sin(angle))])
    vertices = stroke.vertices + way
    if idle_draws:  # a next speed and angle
        stream.normal(0, brush.motion_change / 2)
        stream.normal(0, 0.25)
    order = np.arange(len(vertices))
    stream.shuffle(order)
    for vertex in order[: len(order) // 2]:
        vertices[vertex, 0] += stream.randint(*brush.shift)
        vertices[vertex, 1] += stream.randint(*brush.shift)
    return Stroke(vertices, stroke.width, stroke.motion)


def new_strokes(
    mask: Tensor, count: int, brush: Brush, streams: AnnotationStreams, idle_draws: bool = True
) -> tuple[Tensor, list[Stroke]]:
    """Draw up to `count` brush strokes that start on a mask (H, W) bool.

    Args:
        mask: the mask.
        count: largest number of strokes.
        brush: the brush.
        streams: the random generators.
        idle_draws: draw two unused random numbers for each stroke, as VRP-SAM's program does.

    Returns:
        Starting points (n, 2) float32, x and y, and the n strokes after a random movement.
    """
    starts = start_points(mask, count, streams.places)
    strokes = [new_stroke(start, brush, streams.strokes) for start in starts.tolist()]
    return starts, [moved(stroke, brush, streams.strokes, idle_draws) for stroke in strokes]


def paint(strokes: Sequence[Stroke], size: tuple[int, int]) -> Tensor:
    """Return the pixels (H, W) bool that strokes cover in an image of `size` (H, W), as Pillow draws them."""
    image = Image.new("1", size[::-1])
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        vertices = [tuple(vertex) for vertex in stroke.vertices.tolist()]
        for first, second in pairwise(vertices):
            draw.line([first, second], fill=1, width=stroke.width)
        radius = stroke.width // 2 - 1
        for x, y in vertices:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return torch.from_numpy(np.array(image))


def scribble(mask: Tensor, count: int, brush: Brush, streams: AnnotationStreams, idle_draws: bool = True) -> Tensor:
    """Draw up to `count` brush strokes on a mask (H, W) bool; return the pixels (H, W) bool of it they cover."""
    strokes = new_strokes(mask, count, brush, streams, idle_draws)[1]
    return paint(strokes, (mask.shape[0], mask.shape[1])) & mask


CELLS = 32
"""Cells along a side of the image; on 700 pixels one is a little more than a patch and a half of a ViT-S/14."""


def keep_share(labels: np.ndarray, share: float, seed: Sequence[int]) -> np.ndarray:
    """Return a support's label map with only a share of the object labelled; the object's other pixels become void.

    The image is divided into CELLS x CELLS cells, whatever its side, so that the share is the same for all image sizes.
    Of the cells that show the object, the share `share` keeps its labels, at least one cell. Cells are dropped in one
    random order: what a smaller share keeps is part of what a larger one keeps.

    Args:
        labels: (S, S) uint8 of 1 (the way's class), 0 and 255 (void).
        share: above 0, up to 1; the number of cells is rounded, halves up.
        seed: numbers of 0 or more that alone decide the order of the cells.

    Returns:
        (S, S) uint8; `labels` itself for a share of 1 and if there is no object.
    """
    if share == 1:
        return labels
    height, width = labels.shape
    rows, columns = np.arange(height) * CELLS // height, np.arange(width) * CELLS // width
    cell = rows[:, None] * CELLS + columns
    shown = np.unique(cell[labels == 1])
    if not shown.size:
        return labels
    order = np.random.default_rng(list(seed)).permutation(CELLS * CELLS)  # of all cells: the same at every side
    ranked = shown[np.argsort(order[shown])]
    is_kept = np.zeros(CELLS * CELLS, bool)
    is_kept[ranked[: max(int(share * shown.size + 0.5), 1)]] = True
    return np.where((labels == 1) & ~is_kept[cell], np.uint8(VOID), labels)
