"""Images of FSSDINO's own test, which a data set names by class: those with large objects of COCO (fssdino.md §5)."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from fsbench.data.dataset import SegmentationIndex


@dataclass(frozen=True)
class LargeObjectImages:
    """The images that tests of a fold are drawn from.

    Attributes:
        images_of: class number -> names of its images in drawing order, classes as in the annotation file. A name
            stands for the large objects of this class alone.
        origin: source of the images in words, which stands in records in place of that of a list (see `PairList`).
        sha256: of the annotation file.
    """

    images_of: dict[int, Sequence[str]]
    origin: str
    sha256: str


class LargeObjectIndex(SegmentationIndex):
    """A data set that has FSSDINO's own test, besides its lists."""

    @abstractmethod
    def large_object_images(self, fold: int) -> LargeObjectImages:
        """Return the images of the novel classes of `fold`; DataError where the annotations do not serve for them."""
