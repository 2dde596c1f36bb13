"""Images and label maps as episodes need them, each decoded once as long as it stays in a bounded memory."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.label_maps import check_sizes, read_image
from fsbench.annotations import AnnotationIndex
from fsbench.feature_cache import FeatureCache
from fsbench.preprocess import resize_image


class DecodedFiles:
    """The files of one data set; what was used last is kept, at most `max_bytes` of pixels and labels.

    Every loader process has a memory of its own: a copy that is sent to another process starts empty.
    """

    def __init__(self, index: AnnotationIndex, max_bytes: int = 0):
        self.index = index
        self.kept = FeatureCache(max_bytes)

    def decoded(self, name: str, size: int) -> tuple[Tensor, np.ndarray]:
        """Image `name` as (3, size, size) uint8, and its label map (H, W) uint8 at its original size.

        Both belong to the memory and must not be changed. Raises DataError naming the file that cannot be decoded or
        whose label map has another size.
        """
        labels = self.kept.get("labels", name, lambda: torch.from_numpy(self.index.label_map(name))).numpy()
        return self.kept.get("image", (name, size), lambda: self._resized(name, size, labels)), labels

    def _resized(self, name: str, size: int, labels: np.ndarray) -> Tensor:
        path = self.index.image_path(name)
        image = read_image(path)
        check_sizes(path, image, labels, self.index.label_file(name))
        return resize_image(image, size)

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "kept": FeatureCache(self.kept.max_bytes)}
