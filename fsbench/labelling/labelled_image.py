"""A labelled image as it was at one moment, and which of them become the support."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsbench.labelling.regions import RunLengths
from fsbench.labelling.strokes import StoredForecast
from fsbench.predict.query_images import read_upright
from fsbench.predict.support import Support


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels, which later strokes do not change.

    Attributes:
        name: The image file's name.
        path: The image file.
        revision: Number of steps that the image's history had.
        time: Seconds since 1970 at which it was labelled.
        numbers: Classes that it shows, ascending.
        run_lengths: The label map.
        forecast: The prediction that the image had before it was labelled.
        accepted: Whether the labels are a prediction that was accepted and changed nowhere.
    """

    name: str
    path: Path
    revision: int
    time: float
    numbers: tuple[int, ...]
    run_lengths: RunLengths
    forecast: StoredForecast | None
    accepted: bool = False

    def labels(self) -> np.ndarray:
        """Return the label map (H, W) uint8."""
        return self.run_lengths.decode()

    def pixels(self) -> np.ndarray:
        """Decode the image: (H, W, 3) uint8, upright."""
        return read_upright(self.path)[0]


ChosenSupports = list[tuple[LabelledImage, tuple[int, ...]]]
"""Images with the classes that they are supports of."""


def choose_supports(labelled: Sequence[LabelledImage], shots: int) -> ChosenSupports:
    """Choose up to `shots` images for each class, in the given order.

    Args:
        labelled: The most wanted first.
        shots: Largest number of images for a class.
    """
    taken: Counter[int] = Counter()
    chosen: ChosenSupports = []
    for image in labelled:
        numbers = tuple(number for number in image.numbers if taken[number] < shots)
        taken.update(numbers)
        if numbers:
            chosen.append((image, numbers))
    return chosen


def read_supports(chosen: ChosenSupports, classes: Sequence[str]) -> list[Support]:
    """Decode chosen images as the supports of a predictor.

    Args:
        chosen: From `choose_supports`.
        classes: Names of the classes; that of number n is `classes[n - 1]`.
    """
    return [
        Support(image.name, image.pixels(), image.labels(), {number: classes[number - 1] for number in numbers})
        for image, numbers in chosen
    ]
