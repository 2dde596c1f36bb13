"""A bounded cache of decoded images and label maps."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fsbench.base.tensor_cache import FeatureCache
from fsbench.data.dataset import SegmentationData
from fsbench.data.image_io import image_intensities, image_pixels
from fsbench.data.orientation import check_sizes


class DecodedImageCache:
    """Cache of decoded images and label maps of one data set, `max_bytes` at most.

    Beyond that, the least recently used ones give way. In a test with one loader process, which tells `cache` when each
    image is shown next, those go first that are shown again last. Every loader process has a cache of its own. Returned
    arrays belong to it and must not be changed.

    Args:
        data: the data set.
        resize: pixels (H, W, 3) uint8, or intensities (H, W) float32, S -> image (3, S, S).
        size: S.
        max_bytes: size of all cached pixels and labels; 0 decodes every time.
        measured: images are taken as their data set measured them (`image_intensities`), which is prepared here.
    """

    def __init__(
        self,
        data: SegmentationData,
        resize: Callable[[np.ndarray, int], Tensor],
        size: int,
        max_bytes: int = 0,
        measured: bool = False,
    ):
        if measured:
            data.prepare_intensities()
        self.data = data
        self.read = image_intensities if measured else image_pixels
        self.resize = resize
        self.size = size
        self.cache = FeatureCache(max_bytes)

    def decoded(self, name: str) -> tuple[Tensor, np.ndarray]:
        """Return image `name` as (3, S, S), and its label map (H, W) uint8 at its original size.

        Raises DataError naming the file that cannot be decoded or whose label map has another size.
        """
        labels = self.cache.get("labels", name, lambda: torch.from_numpy(self.data.label_map(name))).numpy()
        return self.cache.get("image", name, lambda: self._resized(name, labels)), labels

    def _resized(self, name: str, labels: np.ndarray) -> Tensor:
        path = self.data.image_path(name)
        pixels = self.read(self.data, name)
        check_sizes(path, pixels, labels, self.data.label_file(name))
        return self.resize(pixels, self.size)
