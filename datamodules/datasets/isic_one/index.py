"""ISIC 2018 Task 1 as one class: any lesion."""

from collections.abc import Mapping
from typing import ClassVar

from fsbench.datamodules.datasets.isic.index import Isic, Numbering


class IsicOne(Isic):
    """The images of `Isic` as one class, so that pixels are pooled over nevi (72 %), melanomas and keratoses.

    Args:
        root, numbering: as of `Isic`.
    """

    name = "isic_one"
    classes_of_fold = 1
    same_classes_as: ClassVar[tuple[str, ...]] = (Isic.name,)

    def __init__(self, root: str, numbering: Numbering = "ifa"):
        super().__init__(root, numbering)
        self.class_names = ("lesion",)

    def list_names(self) -> Mapping[int, tuple[str, ...]]:
        """List all images, folder after folder."""
        return {1: tuple(name for names in super().list_names().values() for name in names)}
