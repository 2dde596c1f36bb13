#!/usr/bin/env bash
# Guess: a bool mask that tifffile (or imageio, whose TIFF plugin it is) writes is True where another library reads
#   something else than 0.
# Found: tifffile writes bool with one bit a pixel and "0 is white". tifffile and scikit-image read back what was
#   given, Pillow and OpenCV show the picture as it is meant on paper: object and background are exchanged.
# Hurts: whoever writes masks in one program and reads them in another: a support's background is taken for the
#   object.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 tifffile==2026.3.3 pillow==12.3.0 opencv-python-headless==4.12.0.88
venv/bin/python -I - <<'PYTHON'
import sys

import cv2
import numpy as np
import PIL
import tifffile
from PIL import Image

print(f"tifffile {tifffile.__version__}, Pillow {PIL.__version__}, OpenCV {cv2.__version__}")
mask = np.zeros((60, 80), bool)
mask[:5, 10:20] = True
tifffile.imwrite("mask.tif", mask)
pixels = {
    "tifffile": int((tifffile.imread("mask.tif") > 0).sum()),
    "Pillow": int((np.asarray(Image.open("mask.tif")) > 0).sum()),
    "OpenCV": int((cv2.imread("mask.tif", cv2.IMREAD_UNCHANGED) > 0).sum()),
}
print("expected by guess: 50 pixels of the object from each of them")
print("found:", ", ".join(f"{name} {count}" for name, count in pixels.items()), "of", mask.size)
if pixels != {"tifffile": 50, "Pillow": 4750, "OpenCV": 4750}:
    sys.exit("changed: expected 50 of tifffile, 4750 of Pillow and OpenCV")
PYTHON
