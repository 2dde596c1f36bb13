"""PIL's filters are applied to the width first, whatever order the installed Pillow would choose by the shape."""

import numpy as np
import pytest
from PIL import Image

from fsbench.data.resizing import resize_by_pil

Rule = Image.Resampling
SIZES = [(33, 33), (33, 100), (100, 33), (100, 100), (101, 33), (33, 47)]
"""Heights and widths that lie below and above those of an image of 101 x 47, or equal them."""


def along_the_width(pixels: np.ndarray, width: int, rule: Rule) -> np.ndarray:
    """One pass of PIL's filter, which has no order."""
    return np.asarray(Image.fromarray(pixels).resize((width, len(pixels)), rule))


@pytest.mark.parametrize("rule", [Rule.NEAREST, Rule.BOX, Rule.BILINEAR, Rule.BICUBIC], ids=lambda rule: rule.name)
@pytest.mark.parametrize("shape", [(101, 47, 3), (101, 47), (47, 101)], ids=str)
def test_the_width_is_filtered_before_the_height(shape: tuple[int, ...], rule: Rule) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    for height, width in SIZES:
        first = np.ascontiguousarray(along_the_width(pixels, width, rule).swapaxes(0, 1))
        expected = along_the_width(first, height, rule).swapaxes(0, 1)
        found = resize_by_pil(pixels, height, width, rule)
        assert np.array_equal(found, expected), (height, width)
        assert np.array_equal(resize_by_pil(Image.fromarray(pixels), height, width, rule), found)
        assert found.dtype == np.uint8 and found.flags.writeable


def test_the_order_shows() -> None:
    """Else the test above could not fail."""
    pixels = np.random.RandomState(0).randint(0, 256, (101, 47)).astype(np.uint8)
    turned = resize_by_pil(np.ascontiguousarray(pixels.T), 33, 33).T
    assert not np.array_equal(resize_by_pil(pixels, 33, 33), turned)
