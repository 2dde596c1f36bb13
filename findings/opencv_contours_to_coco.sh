#!/usr/bin/env bash
# Guess: a mask that is made a COCO polygon by `cv2.findContours` and is painted again by pycocotools is the same
#   mask.
# Found: findContours gives the centres of the outermost pixels, pycocotools paints what lies within the line: a
#   square of 10 x 10 pixels comes back as 9 x 9, and `cv2.contourArea` says 81 as well. Small objects lose most.
# Hurts: whoever turns own label maps into COCO annotations by this common recipe: each object lacks a row and a
#   column, and a perfect answer has an IoU of 0.81.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 opencv-python-headless==4.12.0.88 pycocotools==2.0.11
venv/bin/python -I - <<'PYTHON'
import sys
from importlib.metadata import version

import cv2
import numpy as np
from pycocotools import mask as coco

print(f"OpenCV {cv2.__version__}, pycocotools {version('pycocotools')}")
mask = np.zeros((40, 40), np.uint8)
mask[5:15, 5:15] = 1
contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
polygon = contours[0].ravel().astype(float).tolist()
painted = coco.decode(coco.frPyObjects([polygon], 40, 40))[..., 0]
areas = int(mask.sum()), int(painted.sum()), int(cv2.contourArea(contours[0]))
iou = (painted & mask).sum() / (painted | mask).sum()
print(f"the square's polygon: {polygon}")
print("expected by guess: 100 pixels before and after, IoU 1")
print(f"found: {areas[0]} pixels before, {areas[1]} after, contourArea {areas[2]}, IoU {iou:.2f}")
if areas != (100, 81, 81) or not (mask >= painted).all():
    sys.exit("changed: expected 100 pixels, 81 after the way through a polygon, and an area of 81")
PYTHON
