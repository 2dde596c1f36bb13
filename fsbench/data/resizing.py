"""PIL's resizing, the one home of `Image.resize`: the same numbers with every Pillow, without torch and OpenCV.

OpenCV's resizing and warping follow in `fsbench.data.warping`.
"""

import numpy as np
from PIL import Image


def resize_by_pil(
    image: Image.Image | np.ndarray, height: int, width: int, rule: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Resize an image by one of PIL's antialiasing filters, width first.

    PIL filters one axis after the other and rounds to 8 bits in between, so the order shows in the last bit, and Pillow
    13 chooses it by the shape. The authors' Pillow resized the width first (fss-protocol §4, fscs-protocol §6).

    Args:
        image: a PIL image, grey or RGB, or an array (H, W) or (H, W, 3) uint8; other types only with the nearest
            filter.
        height, width: size of the result.
        rule: PIL's filter; by default bilinear.

    Returns:
        (height, width) or (height, width, 3), of the type of `image`, writable.
    """
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    for size in ((width, whole.height), (width, height)):
        whole = whole.resize(size, rule)
    return np.array(whole)
