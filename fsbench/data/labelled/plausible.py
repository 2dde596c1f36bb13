"""What labelled images allow but hardly mean: one table of checks, the same in `predict`, `data check` and a run."""

import numpy as np


class Plausibility:
    """Collects what labelled images show, one by one, and says what is not plausible of them."""

    def __init__(self) -> None:
        self._images = 0

    def add(self, image_name: str, labels: np.ndarray) -> None:
        """Look at the label map (H, W) uint8 of an image: 0 background, 255 void, else a class."""
        self._images += 1

    def notes(self) -> list[str]:
        """Return one sentence for each check that found something."""
        return []
