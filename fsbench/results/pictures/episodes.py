"""The images of episodes with the ways of their pixels, from a data set's files or from a batch.

Shapes: H W an image, h w a label map in way slots (0 background, 1 the first way, 255 void).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from fsbench.data.dataset import VOID, SegmentationData
from fsbench.data.episodes.episode import Episode
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import way_labels
from fsbench.results.pictures.captions import truth_caption
from fsbench.results.pictures.contrast import way_colors
from fsbench.results.pictures.masks import paint_slots
from fsbench.results.pictures.tiles import fit_image

if TYPE_CHECKING:
    from torch import Tensor

    from fsbench.data.batch import EpisodeBatch


class LabeledImage(NamedTuple):
    """An image with a label map of the episode's ways.

    Attributes:
        caption: Words for the image.
        pixels: (H, W, 3) uint8.
        slots: (h, w) uint8, of any size: 0 background, 1..N ways, 255 void.
        total: Number N of the episode's ways, whether the image shows them or not.
    """

    caption: str
    pixels: np.ndarray
    slots: np.ndarray
    total: int

    @property
    def colors(self) -> np.ndarray:
        """Colors (n, 3) uint8 of the ways in this image, chosen for contrast if there is only one way."""
        return way_colors(self.pixels, self.slots, self.total)

    @property
    def ways(self) -> list[int]:
        """Ways that the image shows, from 1."""
        return _foreground_ways(self.slots)

    def paint(self, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return the image (H, W, 3) uint8 with its ways drawn over it; `size` (width, height) fits it into a box."""
        return paint_slots(self.pixels if size is None else fit_image(self.pixels, size), self.slots, self.colors)


def support_images(data: SegmentationData, episode: Episode, shots: int | None = None) -> list[LabeledImage]:
    """Read an episode's supports from a data set, at most `shots` of each way."""
    images = []
    for slot, (class_id, supports) in enumerate(zip(episode.classes, episode.supports, strict=True), 1):
        for shot, name in enumerate(supports[:shots], 1):
            mask = data.label_map(name) == data.label_values(name, [class_id])[0]
            caption = f"support {shot}: {data.class_names[class_id - 1]}"
            images.append(
                LabeledImage(caption, _read_pixels(data, name), mask.astype(np.uint8) * slot, len(episode.classes))
            )
    return images


def query_image(data: SegmentationData, episode: Episode) -> LabeledImage:
    """Read an episode's query and its truth from a data set."""
    slots = way_labels(data.label_map(episode.query), data.label_values(episode.query, episode.classes))
    names = [data.class_names[class_id - 1] for class_id in episode.classes]
    return LabeledImage(
        truth_caption(names, _foreground_ways(slots)), _read_pixels(data, episode.query), slots, len(names)
    )


def _read_pixels(data: SegmentationData, name: str) -> np.ndarray:
    return np.array(image_pixels(data, name))


def batch_support_images(episode: "EpisodeBatch", names: Sequence[str]) -> list[LabeledImage]:
    """Return the supports of a batch of one episode as images with label maps; `names` are its ways' class names."""
    images = []
    for slot, name in enumerate(names, 1):
        of_way = episode.valid[0, slot - 1].nonzero().flatten().tolist()
        for shot, place in enumerate(of_way, 1):
            row, mask = int(episode.support[0, slot - 1, place]), episode.support_masks[0, slot - 1, place]
            slots = mask.cpu().numpy().astype(np.uint8) * slot
            images.append(LabeledImage(f"support {shot}: {name}", image_array(episode.images[row]), slots, len(names)))
    return images


def batch_query_image(episode: "EpisodeBatch", names: Sequence[str]) -> LabeledImage:
    """Return the query of a batch of one episode with its true label map; `names` are the class names of its ways."""
    slots = episode.known_truth().label_maps[0].cpu().numpy()
    return LabeledImage(truth_caption(names, _foreground_ways(slots)), batch_query_pixels(episode), slots, len(names))


def batch_query_pixels(episode: "EpisodeBatch") -> np.ndarray:
    """Return the query (H, W, 3) uint8 of a batch of one episode, without padding.

    If the method must predict a larger size than the truth has, only the top left part that the truth covers is
    returned.
    """
    pixels = image_array(episode.images[int(episode.query[0])])
    part = letterbox_part(episode)
    if part is not None:
        return pixels[: part[0], : part[1]]
    rows, columns = episode.known_truth().label_maps[0].shape
    height, width = episode.query_sizes[0].tolist()
    return pixels[: max(len(pixels) * rows // height, 1), : max(pixels.shape[1] * columns // width, 1)]


def letterbox_part(episode: "EpisodeBatch") -> tuple[int, int] | None:
    """Return (height, width) of the query within its square input, padded at right and bottom; None if not padded.

    With these, truth, prediction and a method's intermediate maps can be drawn over the image without padding.
    """
    size = tuple(episode.query_sizes[0].tolist())
    if episode.counted_pixels is None or tuple(episode.known_truth().label_maps[0].shape) != size:
        return None
    counted = episode.counted_pixels[0]
    return int(counted.any(1).sum()), int(counted.any(0).sum())


def _foreground_ways(slots: np.ndarray) -> list[int]:
    return [way for way in np.unique(slots).tolist() if way not in (0, VOID)]


def image_array(image: "Tensor") -> np.ndarray:
    """Convert an image tensor (3, H, W), uint8 or float32 in 0..255, to an array (H, W, 3) uint8.

    An image with a value below 0, as normalised intensities have, is spread from black to white.
    """
    low, high = image.aminmax()
    if low < 0:
        image = (image - low) * (255 / (high - low).clamp(min=1e-12))
    return np.ascontiguousarray(image.round().byte().permute(1, 2, 0).cpu().numpy())


def draw_cross(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with a black, white-edged cross at a pixel."""
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
