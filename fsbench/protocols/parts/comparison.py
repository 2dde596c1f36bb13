"""Parts for `compared_at`: the size at which answer and truth are compared (atlas-runs.md §7)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fsbench.protocols.geometry import QuerySize, Resize


@dataclass(frozen=True)
class ComparisonPart:
    """A word of `compared_at` as values of `Segmentation`.

    Attributes:
        query_size, label_resize, frame: see `Segmentation`.
        in_spirit: what is done where the word leaves it open; "" where it is the rule.
    """

    query_size: QuerySize
    label_resize: Resize | None = None
    frame: int | None = None
    in_spirit: str = ""


PARTS: Mapping[str, ComparisonPart] = {
    "network input, torch nearest": ComparisonPart("input", "pil"),
    "network input, OpenCV nearest": ComparisonPart("input", "cv2"),
    "network input, PIL nearest": ComparisonPart("input", "pil_both"),
    "network input, letterboxed": ComparisonPart("input", "padded"),
    "network input": ComparisonPart("input", in_spirit="the truth becomes S x S as masks of supports do"),
    "original, square": ComparisonPart("square"),
    "original, height and width": ComparisonPart("original"),
    "original, label there and back": ComparisonPart("there_and_back"),
    "original, from a 512 frame": ComparisonPart("original", frame=512),
    "original": ComparisonPart("original", in_spirit="sizes are the query's height and width"),
    "answer size": ComparisonPart("input", "pil", in_spirit="an answer has the size of the method's input"),
    "fixed 256": ComparisonPart(256, "pil"),
    "fixed 512": ComparisonPart(512, "pil"),
    "fixed 518": ComparisonPart(518, "pil"),
    "fixed 1024": ComparisonPart(1024, "pil"),
}
"""Word -> part."""
