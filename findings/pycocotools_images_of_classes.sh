#!/usr/bin/env bash
# Guess: `getImgIds(catIds=[cat, dog])` gives the images that have a cat or a dog, as `getAnnIds(catIds=[cat, dog])`
#   gives the annotations of both.
# Found: it gives the images that have both. A misspelt name finds no class, and a filter by no class is no filter:
#   all images.
# Hurts: whoever lists the images of a fold's classes: the list is far too short and nothing fails; with a typo it is
#   the whole data set.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 pycocotools==2.0.11
venv/bin/python -I - <<'PYTHON'
import json, sys
from importlib.metadata import version
from pathlib import Path

from pycocotools.coco import COCO

print(f"pycocotools {version('pycocotools')}")
classes = {"cat": 1, "dog": 2}
held = {1: ["cat"], 2: ["dog"], 3: ["dog", "cat"], 4: []}  # image -> its objects
objects = [(image, classes[name]) for image, names in held.items() for name in names]
Path("instances.json").write_text(json.dumps({
    "images": [{"id": image, "width": 9, "height": 9} for image in held],
    "categories": [{"id": number, "name": name} for name, number in classes.items()],
    "annotations": [{"id": n, "image_id": i, "category_id": c, "area": 4, "iscrowd": 0} for n, (i, c) in enumerate(objects, 1)],
}))
coco = COCO("instances.json")
annotations = coco.getAnnIds(catIds=[1, 2])
images = sorted(coco.getImgIds(catIds=[1, 2]))
misspelt = sorted(coco.getImgIds(catIds=coco.getCatIds(catNms=["catt"])))
print(f"objects in the images: {held}")
print("expected by guess: 4 annotations, images [1, 2, 3] of cat and dog, none of 'catt'")
print(f"found: {len(annotations)} annotations, images {images} of cat and dog, images {misspelt} of 'catt'")
if (len(annotations), images, misspelt) != (4, [3], [1, 2, 3, 4]):
    sys.exit("changed: expected 4 annotations, image 3 alone, and all images for the misspelt class")
PYTHON
