"""Export for YOLO's segmentation: a text file for each image with a polygon for each connected region."""

from pathlib import Path

import numpy as np

from fsbench.labelling.export.files import Classes, Images, write_image, write_yaml
from fsbench.labelling.export.outlines import outline
from fsbench.labelling.regions import connected_regions

DIGITS = 7
"""Digits behind the point of a coordinate: a thousandth of a pixel in images 10,000 pixels wide."""


def write_yolo(images: Images, classes: Classes, out: Path) -> None:
    """Write `images/`, `labels/<image>.txt` and `data.yaml`, which takes all images for training and validation.

    A line is a class, counted from 0, and the corners of a polygon as shares of width and height. Polygons run along
    pixel edges; a hole is joined to its outline by a cut.
    """
    labels = out / "labels"
    labels.mkdir(parents=True)
    for image in images:
        exported = write_image(image, out / "images")
        height, width = exported.size
        lines = []
        for region in connected_regions(exported.labels):
            corners = (outline(region.mask) + np.array([region.left, region.top])) / np.array([width, height])
            lines.append(f"{region.number - 1} " + " ".join(f"{value:.{DIGITS}f}" for value in corners.ravel()) + "\n")
        (labels / f"{exported.stem}.txt").write_text("".join(lines))
    write_yaml(out / "data.yaml", {"train": "images", "val": "images", "names": dict(enumerate(classes))})
