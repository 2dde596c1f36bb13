"""Colours of classes."""

from functools import cache

import numpy as np


@cache
def voc_colours() -> np.ndarray:
    """The VOC colour map (256, 3) uint8: the bits of a class number spread over red, green and blue."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    number = np.arange(256)
    for shift in range(8):
        for channel in range(3):
            bit = (number >> (3 * shift + channel)) & 1
            colours[:, channel] |= (bit << (7 - shift)).astype(np.uint8)
    return colours
