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
    """Cache of decoded images and label maps of one data set, of at most `max_bytes` bytes.

    If the cache is full, the least recently used entries are dropped, or, in a test with one loader process, those that
    are needed again last. Every loader process has its own cache. Returned arrays are shared with the cache and must
    not be changed.

    Args:
        data: the data set.
        resize: function from pixels (H, W, 3) uint8, or intensities (H, W) float32, and S to an image (3, S, S).
        size: side S of the square images.
        max_bytes: bound on all cached pixels and labels; 0 decodes every time.
        measured: whether the data set's measured intensities are read instead of pixels.
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
        """Return image `name` resized to (3, S, S), and its label map (H, W) uint8 at its original size.

        Raises:
            DataError: a file cannot be decoded, or the label map has another size than the image; the message names it.
        """
        labels = self.cache.get("labels", name, lambda: torch.from_numpy(self.data.label_map(name))).numpy()
        return self.cache.get("image", name, lambda: self._resized(name, labels)), labels

    def _resized(self, name: str, labels: np.ndarray) -> Tensor:
        path = self.data.image_path(name)
        pixels = self.read(self.data, name)
        check_sizes(path, pixels, labels, self.data.label_file(name))
        return self.resize(pixels, self.size)
