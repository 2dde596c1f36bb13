"""Comparison of an exported file's answers with the method's own.

Shapes: N classes, (H, W) an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fsbench.base.errors import NumericsError
from fsbench.predict.result import Result

SAME_PIXELS = 0.999
"""Least share of an image's pixels that must have the same label."""
NEAR = 1e-3
"""Largest margin of a pixel whose label differs, and largest difference of scores of presence."""

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Labels (H, W) uint8, decisions (N,) bool and scores (N,) float32 of presence."""
Run = Callable[[np.ndarray], Answer]
"""Function from an image (H, W, 3) uint8 to an exported file's answer."""


@dataclass(frozen=True)
class Original:
    """The method that a file was made of.

    Attributes:
        name: its name, for messages.
        answer: its own answer to an image (H, W, 3) uint8, at the image's size.
        margin: the margin (H, W) of every pixel, see `fsbench.core.query_graph.Decision`.
    """

    name: str
    answer: Callable[[np.ndarray], Result]
    margin: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Agreement:
    """How far the answers of a file and of its method agree.

    Attributes:
        images: number of images.
        pixels: number of their pixels.
        other: number of pixels with another label.
        farthest: largest margin of such a pixel; 0 where there is none.
        score: largest difference of a score of presence.
    """

    images: int
    pixels: int
    other: int
    farthest: float
    score: float

    def __str__(self) -> str:
        same = 100 * (1 - self.other / self.pixels)
        photos = "1 photo" if self.images == 1 else f"{self.images} photos"
        borderline = f" (the other {self.other} are within {self.farthest:.0e} of the threshold)" if self.other else ""
        return (
            f"{same:.5g} % of the {self.pixels} pixels of {photos} have the same label{borderline}; scores of presence "
            f"differ by {self.score:.0e} at most"
        )


def compare(original: Original, run: Run, images: Sequence[tuple[str, np.ndarray]]) -> Agreement:
    """Compare a file's answers with those of its method.

    Args:
        original: the method.
        run: runs the file.
        images: names and pixels (H, W, 3) uint8.

    Raises:
        NumericsError: an answer differs by more than rounding does.
    """
    pixels = other = 0
    farthest = largest = 0.0
    for name, image in images:
        result = original.answer(image)
        labels, present, score = run(image)
        differs = labels != result.label_map
        distance = float(original.margin(image)[differs].max()) if differs.any() else 0.0
        gap = max(abs(own.score - float(found)) for own, found in zip(result.classes, score, strict=True))
        decided = [own.present for own in result.classes] == present.tolist()
        if differs.mean() > 1 - SAME_PIXELS or distance > NEAR or gap > NEAR or not decided:
            raise NumericsError(
                f"the exported file answers otherwise than {original.name} on {name}: {100 * differs.mean():.3g} % of "
                f"the labels, up to {distance:.2g} from the threshold, scores of presence by up to {gap:.2g}"
                f"{'' if decided else ', its decisions, too'}; expected at most {100 * (1 - SAME_PIXELS):.1g} %, "
                f"{NEAR:g} and {NEAR:g}; nothing was written"
            )
        pixels, other = pixels + differs.size, other + int(differs.sum())
        farthest, largest = max(farthest, distance), max(largest, gap)
    return Agreement(len(images), pixels, other, farthest, largest)
