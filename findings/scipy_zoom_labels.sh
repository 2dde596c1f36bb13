#!/usr/bin/env bash
# Guess: `scipy.ndimage.zoom(labels, 3, order=0)` makes three pixels of each.
# Found: the centres of the first and the last pixel stay where they are, so that the outer pixels become two and the
#   inner ones four. `grid_mode=True` with `mode="nearest"` does what one would guess.
# Hurts: whoever brings label maps or score maps to an image's size with SciPy, as programs for medical scans do:
#   everything is pushed outwards, most at the border, and a perfect prediction on a coarse grid scores less than 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 scipy==1.15.3
venv/bin/python -I - <<'PYTHON'
import sys

import numpy as np
import scipy
from scipy.ndimage import zoom

print(f"SciPy {scipy.__version__}")
labels = np.array([1, 2, 3, 4])
guess = labels.repeat(3).tolist()
found = zoom(labels, 3, order=0).tolist()
grid = zoom(labels, 3, order=0, grid_mode=True, mode="nearest").tolist()
print("expected by guess:", guess)
print("found:", found)
print("with grid_mode:", grid)
square = np.zeros((8, 8), bool)
square[:2, :2] = True
large, wanted = zoom(square.astype(np.uint8), 8, order=0) > 0, square.repeat(8, 0).repeat(8, 1)
iou = (large & wanted).sum() / (large | wanted).sum()
print(f"a square in the corner, 8 x 8 pixels to 64 x 64: IoU with itself {iou:.2f}")
if found != [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4] or grid != guess or iou > 0.95:
    sys.exit("changed: expected two pixels of the outer labels and four of the inner ones")
PYTHON
