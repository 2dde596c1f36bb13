#!/usr/bin/env bash
# Guess: a polygon with corners on pixels paints the same pixels in every OpenCV.
# Found: there are three generations of `cv2.fillPoly`. Between 4.8 and 4.10 it paints more pixels than up to 4.7;
#   from 4.11 on it paints as before inside the image, and other pixels where a corner lies outside.
# Hurts: whoever paints label maps from COCO's or LabelMe's polygons: the truth, and so each score, hangs on the
#   installed OpenCV.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==1.26.4
for pinned in opencv-python-headless=={4.7.0.72,4.10.0.84,4.12.0.88,5.0.0.93}; do
  venv/bin/pip install --quiet --no-deps --target "${pinned#*==}" "$pinned"
done
venv/bin/python -I - <<'PYTHON'
import subprocess, sys

PAINT = """
import cv2, numpy as np
for corners in ([[1, 1], [5, 2], [3, 6]], [[7, 0], [9, 3], [10, 1]]):
    mask = np.zeros((8, 8), np.uint8)
    cv2.fillPoly(mask, [np.array(corners, np.int32)], 1)
    print(mask.sum())
"""
painted = {}
for version in ("4.7.0.72", "4.10.0.84", "4.12.0.88", "5.0.0.93"):
    answer = subprocess.run([sys.executable, "-c", PAINT], env={"PYTHONPATH": version}, capture_output=True, text=True, check=True)
    painted[version] = [int(line) for line in answer.stdout.split()]
    print(f"OpenCV {version}: pixels of a triangle inside the image {painted[version][0]}, of one over its edge {painted[version][1]}")
print("expected by guess: the same two numbers four times")
if list(painted.values()) != [[16, 1], [18, 2], [16, 3], [16, 3]]:
    sys.exit("changed: expected 16 and 1, 18 and 2, 16 and 3, 16 and 3")
print("found: three generations")
PYTHON
