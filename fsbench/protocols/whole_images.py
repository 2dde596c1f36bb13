"""The validation of base learners on whole images, as a protocol (hmnet.md §2.4.5)."""

from fsbench.protocols.counting import PixelCounting
from fsbench.protocols.draws.whole_images import WholeImages
from fsbench.protocols.protocol import Protocol
from fsbench.protocols.view import View

WHOLE_IMAGES = Protocol(
    "whole images",
    1,
    "the base classes of every test image, padded, void ignored",
    WholeImages(),
    View("padded", "input", keeps_padding=True),
    PixelCounting("ignore"),
)
"""Chooses the checkpoint of a base learner; no published test."""
