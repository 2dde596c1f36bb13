"""The one rule by which outlines become masks, the same under every version of OpenCV that may be installed."""

import numpy as np

PAINTING = "fillPoly of OpenCV 4.7"
"""Name of the rule in records. OpenCV filled alike up to 4.7, by which the field's label maps of COCO were made. 4.8 to
4.10 filled more, and from 4.11 on pixels differ where corners lie outside the image."""


def fill_outline(labels: np.ndarray, corners: np.ndarray, value: int) -> None:
    """Set the pixels inside a polygon and on its boundary to a value, in place.

    Args:
        labels: (H, W) uint8, contiguous; written to.
        corners: (n, 2) x and y, truncated toward zero. They may lie outside the image, up to 2^31 in size.
        value: from 0 to 255.
    """
    import cv2  # slow to import

    corners = corners.astype(np.int32)
    if not ((corners >= 0) & (corners < labels.shape[::-1])).all():
        cv2.polylines(labels, [corners], True, value)
        _fill_inside(labels, corners.astype(np.int64), value)
    else:
        cv2.fillPoly(labels, [corners], value)


def _fill_inside(labels: np.ndarray, corners: np.ndarray, value: int) -> None:
    """Fill an outline (n, 2) int64 by the even-odd rule, row by row.

    An edge takes part from its upper row to above its lower one. Its place in a row is a 65536th of a pixel exact, by
    a slope that is truncated toward zero.
    """
    before = np.roll(corners, 1, axis=0)
    ends = np.stack([before, corners], axis=1)[before[:, 1] != corners[:, 1]]
    rank = ends[..., 1].argsort(axis=1)[..., None]
    (left, top), (right, bottom) = np.take_along_axis(ends, rank, axis=1).transpose(1, 2, 0)
    run, rise = (right - left) << 16, bottom - top
    slope = np.sign(run) * (np.abs(run) // rise)
    first = top.clip(min=0)
    counts = (bottom.clip(max=len(labels)) - first).clip(min=0)
    edge = np.repeat(np.arange(len(rise)), counts)
    row = np.arange(len(edge)) - np.repeat(counts.cumsum() - counts - first, counts)
    place = (left[edge] << 16) + (row - top[edge]) * slope[edge]
    order = np.lexsort((place, row))
    row, place = row[order][::2], place[order]
    begin, end = (-(-place[::2] >> 16)).clip(min=0), (place[1::2] >> 16) + 1
    for y, x, past in zip(row.tolist(), begin.tolist(), end.clip(min=0).tolist(), strict=True):
        labels[y, x:past] = value
