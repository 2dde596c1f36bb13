"""Export as COCO's instances: one annotation for each connected region, its mask as run lengths."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from fsbench.labelling.export.files import Classes, ExportedImage, Images, write_image
from fsbench.labelling.regions import Region, connected_regions


def write_coco(images: Images, classes: Classes, out: Path) -> None:
    """Write `images/` and `annotations.json`, whose category ids are the class numbers."""
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image in enumerate(images, 1):
        exported = write_image(image, out / "images")
        height, width = exported.size
        entries.append({"id": image_id, "file_name": exported.file.name, "height": height, "width": width})
        for region in connected_regions(exported.labels):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **_annotation(region, exported)})
    content = {
        "info": {"description": "labelled with fsbench demo"},
        "licenses": [],
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(classes, 1)],
    }
    (out / "annotations.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _annotation(region: Region, image: ExportedImage) -> dict[str, Any]:
    left, top, width, height = region.box
    whole = np.zeros(image.size, dtype=np.uint8, order="F")
    whole[top : top + height, left : left + width] = region.mask
    counts = coco_mask.encode(whole)["counts"].decode("ascii")
    return {
        "category_id": region.number,
        "segmentation": {"size": list(image.size), "counts": counts},
        "area": int(region.mask.sum()),
        "bbox": [left, top, width, height],
        "iscrowd": 0,
    }
