"""Images and label maps as episodes need them, each decoded once as long as it stays in a bounded memory."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from datamodules.label_maps import check_sizes, read_pixels
from fsbench.annotations import AnnotationIndex
from fsbench.feature_cache import FeatureCache


class DecodedFiles:
    """The files of one data set; what was used last is kept, at most `max_bytes` of pixels and labels.

    Every loader process has a memory of its own. What is returned belongs to it and must not be changed.

    Args:
        index: the data set.
        resize: pixels (H, W, 3) uint8, S -> image (3, S, S).
        size: S.
        max_bytes: of all that is kept; 0 decodes every time.
    """

    def __init__(
        self, index: AnnotationIndex, resize: Callable[[np.ndarray, int], Tensor], size: int, max_bytes: int = 0
    ):
        self.index = index
        self.resize = resize
        self.size = size
        self.kept = FeatureCache(max_bytes)

    def decoded(self, name: str) -> tuple[Tensor, np.ndarray]:
        """Image `name` as (3, S, S), and its label map (H, W) uint8 at its original size.

        Raises DataError naming the file that cannot be decoded or whose label map has another size.
        """
        labels = self.kept.get("labels", name, lambda: torch.from_numpy(self.index.label_map(name))).numpy()
        return self.kept.get("image", name, lambda: self._resized(name, labels)), labels

    def _resized(self, name: str, labels: np.ndarray) -> Tensor:
        path = self.index.image_path(name)
        pixels = read_pixels(path)
        check_sizes(path, pixels, labels, self.index.label_file(name))
        return self.resize(pixels, self.size)
