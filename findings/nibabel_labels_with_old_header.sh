#!/usr/bin/env bash
# Guess: labels 0, 1, 2, ... that are loaded, saved with the header they came with (of an integer type) and loaded
#   again are the same labels.
# Found: `get_fdata` gives floats; nibabel stretches floats over the whole range of the header's integer type. They
#   come back as 0.99998 or 2.99995, and `astype(uint8)` makes 0 and 2 of these.
# Hurts: whoever crops, flips or merges label volumes with nibabel in the usual three lines: voxels change their
#   class.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 nibabel==5.4.2
venv/bin/python -I - <<'PYTHON'
import sys

import nibabel
import numpy as np

print(f"nibabel {nibabel.__version__}")
labels = np.zeros((4, 4, 4), np.int16)
labels.flat[:8] = range(8)
nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), "labels.nii")
first = nibabel.load("labels.nii")
nibabel.save(nibabel.Nifti1Image(first.get_fdata(), first.affine, first.header), "again.nii")
again = nibabel.load("again.nii")
values = again.get_fdata()
print(f"saved as {again.get_data_dtype()}, slope {again.dataobj.slope:.7f}, intercept {again.dataobj.inter:.4f}")
print("expected by guess:", np.unique(labels).tolist())
print("found:", np.unique(values).round(6).tolist())
print("found after astype(uint8):", np.unique(values.astype(np.uint8)).tolist())
moved = int((values.astype(np.uint8) != labels).sum())
print(f"{moved} of 8 labels' voxels have another class")
if again.get_data_dtype() != np.int16 or moved == 0 or np.abs(values - labels).max() > 0.001:
    sys.exit("changed: expected labels that are a little off, of which some become the class below")
PYTHON
