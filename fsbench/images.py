"""What a data set of labelled photos tells the suite: its classes, and which images show each (fort.md §2)."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path


class ImageIndex(ABC):
    """Classes of one data set and the names of their images. Opens no image.

    Attributes:
        name: of the data set, as records call it.
        class_names: of the classes, in the order that episodes number them from 0.
        images: for every class, the names of its images in list order.
        origin: where the list comes from: "derived" (our rule), or what else the data set says.
    """

    name: str
    class_names: tuple[str, ...]
    images: tuple[tuple[str, ...], ...]
    origin: str

    @abstractmethod
    def image_path(self, name: str) -> Path:
        """File of the image `name`."""

    @cached_property
    def sha256(self) -> str:
        """Of the list; names it."""
        return list_sha256(self.class_names, self.images)


def list_sha256(class_names: Sequence[str], images: Sequence[Sequence[str]]) -> str:
    """Of class names and, for every class, image names in order, as canonical JSON."""
    return hashlib.sha256(json.dumps([class_names, images], separators=(",", ":")).encode()).hexdigest()
