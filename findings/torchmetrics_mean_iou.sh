#!/usr/bin/env bash
# Guess: `MulticlassJaccardIndex` and `segmentation.MeanIoU` of one package are two names of mIoU, and give one
#   number.
# Found: the first sums pixels over the data set and then divides, the second divides for each image and takes the
#   mean of the images: an object of one pixel weighs as much as one of ninety.
# Hurts: whoever compares own scores with a paper's: the difference between the two is larger than most papers' gains.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 torch==2.13.0 torchmetrics==1.9.0
venv/bin/python -I - <<'PYTHON'
import sys, warnings

warnings.simplefilter("ignore")
import torch, torchmetrics
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

print(f"torchmetrics {torchmetrics.__version__}, torch {torch.__version__.split('+')[0]}")
truth = torch.zeros(2, 10, 10, dtype=torch.long)
truth[0, :9] = 1  # ninety pixels, all found
answer = truth.clone()
truth[1, 0, 0] = 1  # one pixel, predicted elsewhere
answer[1, 5, 5] = 1
pixels = MulticlassJaccardIndex(num_classes=2, average=None)(answer, truth)
images = MeanIoU(num_classes=2, per_class=True, input_format="index")(answer, truth)
print("expected by guess: equal IoU of the object")
print(f"found: {pixels[1]:.3f} by MulticlassJaccardIndex (90 of 92 pixels), {images[1]:.3f} by MeanIoU (mean of 1 and 0)")
print(f"found: mIoU {pixels.mean():.3f} and {images.mean():.3f}")
if abs(float(pixels[1]) - 90 / 92) > 1e-4 or abs(float(images[1]) - 0.5) > 1e-4:
    sys.exit("changed: expected 0.978 of pixels and 0.5 of images")
PYTHON
