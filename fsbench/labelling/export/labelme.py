"""Export for LabelMe: a JSON file beside each image."""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fsbench.labelling.export.files import Classes, Images, write_image
from fsbench.labelling.regions import Region, connected_regions

VERSION = "5.5.0"
"""The version of LabelMe whose form is written; masks are known from 5.2 on."""


def write_labelme(images: Images, classes: Classes, out: Path) -> None:
    """Write images, each with `<image>.json`.

    A region is a polygon through the middles of its border pixels, which LabelMe fills with its border; one with a
    hole, or without three corners, is a mask. Either way the pixels are the labelled ones.
    """
    for image in images:
        exported = write_image(image, out)
        height, width = exported.size
        content: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": [_shape(region, classes) for region in connected_regions(exported.labels)],
            "imagePath": exported.file.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        text = json.dumps(content, ensure_ascii=False, indent=1)
        (out / f"{exported.stem}.json").write_text(text, encoding="utf-8")


def _shape(region: Region, classes: Classes) -> dict[str, Any]:
    left, top, width, height = region.box
    shape: dict[str, Any] = {"label": classes[region.number - 1], "group_id": None, "description": "", "flags": {}}
    corners = _corners(region.mask)
    if corners is not None:
        points = (corners + np.array([left, top])).astype(float).tolist()
        return {**shape, "points": points, "shape_type": "polygon", "mask": None}
    file = BytesIO()
    Image.fromarray(region.mask).save(file, "PNG")
    points = [[float(left), float(top)], [float(left + width - 1), float(top + height - 1)]]
    return {**shape, "points": points, "shape_type": "mask", "mask": base64.b64encode(file.getvalue()).decode("ascii")}


def _corners(mask: np.ndarray) -> np.ndarray | None:
    """Return the border pixels (n, 2), x and y, at which the border of a region (h, w) bool turns; None where they are
    no polygon that is filled to the region."""
    import cv2  # slow to import

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled = cv2.fillPoly(np.zeros(mask.shape, dtype=np.uint8), contours, 1)
    corners = np.asarray(contours[0][:, 0])
    return corners if len(corners) >= 3 and np.array_equal(filled > 0, mask) else None
