"""Parts for `void`: what pixels without a true class count as (atlas-runs.md §8)."""

from collections.abc import Mapping
from dataclasses import dataclass

from fsbench.protocols.segmentation import Void


@dataclass(frozen=True)
class VoidPart:
    """A word of `void` as a value of `Segmentation`."""

    void: Void


PARTS: Mapping[str, VoidPart] = {
    "ignored": VoidPart("ignore"),
    "background": VoidPart("background"),
    "none": VoidPart("ignore"),  # the data set has none; padding, which a letterbox adds, is left out
}
"""Word -> part."""
