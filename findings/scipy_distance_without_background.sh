#!/usr/bin/env bash
# Guess: the distance to the background is infinite, or an error is raised, where a mask has no background.
# Found: `distance_transform_edt` measures to a point beside the array, one row above its first pixel: plausible
#   numbers that grow towards the last row. OpenCV gives 3.4e38.
# Hurts: whoever draws clicks, weights borders or measures surface distances: a mask that fills its image (a crop, a
#   class like sky) has its "innermost" pixel in the corner.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 scipy==1.15.3 opencv-python-headless==4.12.0.88
venv/bin/python -I - <<'PYTHON'
import sys

import cv2
import numpy as np
import scipy
from scipy.ndimage import distance_transform_edt

print(f"SciPy {scipy.__version__}, OpenCV {cv2.__version__}")
mask = np.ones((60, 60), np.uint8)
distance = distance_transform_edt(mask)
innermost = np.unravel_index(distance.argmax(), mask.shape)
rows, columns = np.indices(mask.shape)
above = np.hypot(rows + 1, columns)  # from the point (-1, 0)
opencv = cv2.distanceTransform(mask, cv2.DIST_L2, 5).min()
print("expected by guess: inf everywhere, or an error")
print(f"found: from {distance.min():.2f} to {distance.max():.2f}; the innermost pixel is {tuple(map(int, innermost))}; OpenCV {opencv:.3g}")
framed = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
print(f"with a frame of background: {framed.max():.0f} at most, in the middle")
if not (np.allclose(distance, above) and opencv > 1e30):
    sys.exit("changed: expected distances to the point (-1, 0)")
PYTHON
