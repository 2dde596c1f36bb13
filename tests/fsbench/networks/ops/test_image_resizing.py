"""Images are resized in a graph as the suite resizes them."""

import numpy as np
import pytest
import torch

from fsbench.data.transforms import RESIZES
from fsbench.networks.ops.image_resizing import TENSOR_RESIZES

SIZES = [(50, 60, 64), (300, 77, 65), (64, 64, 64), (2, 2, 33), (2, 301, 129), (375, 250, 128)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("rule", "near"), [("pil", 0), ("pil_both", 0), ("cv2", 1e-4)])
def test_an_image_is_the_suites(rule, near, size):
    """PIL's bits; OpenCV adds in another order, and its values of 0 to 255 have a float32's last bits otherwise."""
    height, width, side = size
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = RESIZES[rule][0](image, side).float()
    found = TENSOR_RESIZES[rule](torch.from_numpy(image), side)
    assert found.shape == (3, side, side) and found.dtype == torch.float32
    assert (found - expected).abs().max() <= near
