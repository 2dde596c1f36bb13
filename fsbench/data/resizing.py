"""PIL's resizing, the one home of `Image.resize`: the same numbers with every Pillow, without torch and OpenCV.

OpenCV's resizing and warping follow in `fsbench.data.warping`.
"""

import numpy as np
from PIL import Image


def resize_by_pil(
    image: Image.Image | np.ndarray, height: int, width: int, rule: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """Resize an image by one of PIL's filters, which are antialiased.

    PIL filters one axis after the other and rounds to 8 bits in between, so the order shows in the last bit. Pillow 13
    chooses it by the shape. It is width first here for every shape, as in the Pillow that the authors used
    (fss-protocol §4, fscs-protocol §6).

    Args:
        image: PIL's, grey or RGB, or (H, W), (H, W, 3) uint8; maps of other types by the nearest pixel alone.
        height, width: of the result.
        rule: PIL's filter; by default a triangle.

    Returns:
        (height, width) or (height, width, 3), of the type of `image`, writable.
    """
    whole = image if isinstance(image, Image.Image) else Image.fromarray(image)
    for size in ((width, whole.height), (width, height)):
        whole = whole.resize(size, rule)
    return np.array(whole)
