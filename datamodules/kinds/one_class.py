"""Data sets whose images show one class each: label maps have 1 where it is, whatever its number."""

from abc import abstractmethod
from collections.abc import Sequence

from fsbench.data.dataset import SegmentationData

NO_VALUE = 254
"""A value that no label map has; what other classes than an image's own would have in it."""


class OneClassImages(SegmentationData):
    """Data set whose label maps hold only 0 and 1, so that it may have more than 254 classes."""

    @abstractmethod
    def class_number(self, name: str) -> int:
        """Return the class that image `name` shows."""

    def label_values(self, name: str, classes: Sequence[int]) -> list[int]:
        own = self.class_number(name)
        return [1 if number == own else NO_VALUE for number in classes]
