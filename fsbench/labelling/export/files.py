"""Common parts of all formats: the image files, upright, and the colors of label maps."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsbench.files.images import open_image
from fsbench.labelling.labelled_image import LabelledImage
from fsbench.predict.query_images import read_header
from fsbench.predict.result import palette

AS_THEY_ARE = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
"""Formats that every program reads, and the suffixes that tell them."""


@dataclass(frozen=True)
class ExportedImage:
    """An image of an export.

    Attributes:
        file: Its file.
        size: Height and width.
        labels: The label map (H, W) uint8.
    """

    file: Path
    size: tuple[int, int]
    labels: np.ndarray

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return self.file.stem


def write_image(image: LabelledImage, folder: Path) -> ExportedImage:
    """Write an image's file to `folder`, upright: JPEG and PNG files as they are, any other as a PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_image(image.path) as opened:
        suffixes = AS_THEY_ARE.get(str(opened.format), ())
    if image.path.suffix in suffixes and read_header(image.path)[2] == 1:
        file = folder / image.name
        shutil.copyfile(image.path, file)
    else:
        file = folder / f"{image.path.stem}.png"
        Image.fromarray(image.pixels()).save(file, "PNG")
    labels = image.labels()
    return ExportedImage(file, (labels.shape[0], labels.shape[1]), labels)


def write_label_png(labels: np.ndarray, file: Path) -> None:
    """Write a label map (H, W) uint8 as a palette PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels, "P")
    image.putpalette(palette().tobytes())
    image.save(file, "PNG")


def write_yaml(file: Path, values: dict[str, Any]) -> None:
    """Write plain values as YAML, in their order."""
    import yaml  # spared until something is exported

    file.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False), encoding="utf-8")


Images = Sequence[LabelledImage]
Classes = Sequence[str]
"""Names; that of number n is `classes[n - 1]`."""
