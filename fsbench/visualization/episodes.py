"""Draw episodes: their images with masks over them, from a data set's files or from a batch.

Shapes: H W an image, h w a label map in way slots (0 background, 1 the first way, 255 void).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from fsbench.data.batch import EpisodeBatch
from fsbench.data.dataset import VOID, SegmentationIndex
from fsbench.data.image_io import read_image
from fsbench.data.transforms import resize_labels, way_labels
from fsbench.episodes.samplers import Episode
from fsbench.visualization.colors import WAY_COLORS
from fsbench.visualization.error_map import ERROR_COLORS, error_map


class LabeledImage(NamedTuple):
    """An image and the way of each of its pixels.

    Attributes:
        caption: Words for the image.
        pixels: (H, W, 3) uint8.
        slots: (h, w) uint8, of any size.
    """

    caption: str
    pixels: np.ndarray
    slots: np.ndarray

    def painted(self) -> np.ndarray:
        """Return the image with its ways' colors over it."""
        return paint_slots(self.pixels, self.slots)


def support_images(index: SegmentationIndex, episode: Episode, shots: int | None = None) -> list[LabeledImage]:
    """Read an episode's supports from a data set, at most `shots` of each way."""
    images = []
    for slot, (class_id, supports) in enumerate(zip(episode.classes, episode.supports, strict=True), 1):
        for shot, name in enumerate(supports[:shots], 1):
            mask = index.label_map(name) == index.label_values(name, [class_id])[0]
            caption = f"support {shot}: {index.class_names[class_id - 1]}"
            images.append(LabeledImage(caption, _read_pixels(index, name), mask.astype(np.uint8) * slot))
    return images


def query_image(index: SegmentationIndex, episode: Episode) -> LabeledImage:
    """Read an episode's query and its truth from a data set."""
    slots = way_labels(index.label_map(episode.query), index.label_values(episode.query, episode.classes))
    names = [index.class_names[class_id - 1] for class_id in episode.classes]
    return LabeledImage(_truth_caption(slots, names), _read_pixels(index, episode.query), slots)


def _read_pixels(index: SegmentationIndex, name: str) -> np.ndarray:
    return np.array(read_image(index.image_path(name)))


def batch_support_images(episode: EpisodeBatch, names: Sequence[str]) -> list[LabeledImage]:
    """Return the supports of a batch of one episode, whose ways have `names`."""
    images = []
    for slot, name in enumerate(names, 1):
        ways = zip(episode.support[0, slot - 1].tolist(), episode.support_masks[0, slot - 1], strict=True)
        for shot, (row, mask) in enumerate(ways, 1):
            slots = mask.cpu().numpy().astype(np.uint8) * slot
            images.append(LabeledImage(f"support {shot}: {name}", pixels_of(episode.images[row]), slots))
    return images


def batch_query_image(episode: EpisodeBatch, names: Sequence[str]) -> LabeledImage:
    """Return the query and the truth of a batch of one episode, whose ways have `names`."""
    slots = episode.known_truth().label_maps[0].cpu().numpy()
    return LabeledImage(_truth_caption(slots, names), pixels_of(episode.images[int(episode.query[0])]), slots)


def _truth_caption(slots: np.ndarray, names: Sequence[str]) -> str:
    present = [name for slot, name in enumerate(names, 1) if (slots == slot).any()]
    return f"truth: {', '.join(present) or 'none'}"


def pixels_of(image: Tensor) -> np.ndarray:
    """Convert an image tensor (3, H, W) uint8 to an array (H, W, 3)."""
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())


def paint_slots(pixels: np.ndarray, slots: np.ndarray, colors: np.ndarray = WAY_COLORS) -> np.ndarray:
    """Lay the color of each slot half transparent over an image, and void white.

    Args:
        pixels: (H, W, 3) uint8.
        slots: (h, w), of any size; it is resized to the image's.
        colors: (n, 3) uint8, used in turn from slot 1.
    """
    from torchvision.utils import draw_segmentation_masks  # slow to import

    slots = resize_labels(slots.astype(np.uint8), *pixels.shape[:2])
    numbers = [number for number in np.unique(slots).tolist() if number not in (0, VOID)]
    painted = pixels.copy()
    if numbers:
        masks = torch.from_numpy(np.stack([slots == number for number in numbers]))
        chosen = [tuple(colors[(number - 1) % len(colors)].tolist()) for number in numbers]
        image = torch.from_numpy(painted).permute(2, 0, 1)
        painted = pixels_of(draw_segmentation_masks(image, masks, alpha=0.5, colors=chosen))
    painted[slots == VOID] = 255
    return painted


def paint_mask(pixels: np.ndarray, mask: Tensor, color: tuple[int, int, int]) -> np.ndarray:
    """Lay a color half transparent over the pixels where a mask (h, w), of any size, is 1."""
    return paint_slots(pixels, mask.cpu().numpy() == 1, np.array([color], dtype=np.uint8))


def paint_errors(pixels: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Lay the colors of errors over an image, see `error_map`."""
    return paint_slots(pixels, error_map(prediction, truth), ERROR_COLORS)


def draw_cross(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """Draw a black cross with white edges at a pixel."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    arm = max(4, pixels.shape[0] // 24)
    lines = (((column - arm, row), (column + arm, row)), ((column, row - arm), (column, row + arm)))
    for width, color in ((5, "white"), (2, "black")):
        for line in lines:
            draw.line(line, fill=color, width=width)
    return np.array(image)


def object_center(mask: np.ndarray) -> tuple[int, int]:
    """Return row and column of the mask's pixel nearest to its centroid; the image's middle for an empty mask."""
    places = np.argwhere(mask)
    if not len(places):
        return mask.shape[0] // 2, mask.shape[1] // 2
    row, column = places[np.abs(places - places.mean(0)).sum(1).argmin()]
    return int(row), int(column)
