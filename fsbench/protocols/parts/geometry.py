"""Parts for `geometry` and `network_size`: how an image becomes the square that the network sees (atlas-runs.md §6)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fsbench.protocols.geometry import Resize


@dataclass(frozen=True)
class GeometryPart:
    """A word of `geometry` as a value of `Segmentation`.

    Attributes:
        resize: see `Segmentation`.
        in_spirit: what the suite does where the word leaves it open, or where it cannot do as the program does; ""
            where the word is the rule.
    """

    resize: Resize
    in_spirit: str = ""


PARTS: Mapping[str, GeometryPart] = {
    "squash, PIL, labels torch": GeometryPart("pil"),
    "squash, PIL, labels PIL": GeometryPart("pil_both"),
    "squash, OpenCV": GeometryPart("cv2"),
    "squash": GeometryPart("pil", "images are squashed by PIL, as most programs do"),
    "letterbox": GeometryPart("padded"),
    "letterbox, sides rounded": GeometryPart("frame"),
    "none": GeometryPart("pil", "methods see squares, and no image at its own size"),
    "collage": GeometryPart("pil", "the method lays supports and query side by side"),
}
"""Word -> part. There is none of words that say nothing, nor of a frame whose answers lie over the image alone."""
