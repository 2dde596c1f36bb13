"""Run-length masks whose runs no mask can have are refused, whoever reads them."""

import pytest

from fsbench.data.rle import decode_rle, rle_extent

NEGATIVE = "le0lL"
"""Runs of 700 and -100 pixels in COCO's compressed form; their sum is that of the image."""


@pytest.mark.parametrize(
    "read",
    [
        lambda runs, height, width: decode_rle({"size": [height, width], "counts": runs}, height, width),
        lambda runs, height, width: rle_extent({"size": [height, width], "counts": runs}, height, width),
    ],
    ids=["decode_rle", "rle_extent"],
)
def test_a_negative_run_is_refused(read):
    with pytest.raises(ValueError, match=r"^its runs do not fill 600 pixels$"):
        read(NEGATIVE, 20, 30)
