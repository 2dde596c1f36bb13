#!/usr/bin/env bash
# Guess: a NIfTI file has one place in the world: every library reads the same affine from it.
# Found: a file may hold two, the scanner's (qform) and an aligned one (sform). Where the sform has code 2, nibabel
#   takes the sform and SimpleITK the qform, both without a word.
# Hurts: whoever aligned scans with a neuroimaging tool and goes on with SimpleITK: labels and scan of one file are
#   apart by the alignment, here by 37 mm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 nibabel==5.4.2 SimpleITK==2.5.7
venv/bin/python -I - <<'PYTHON'
import sys

import nibabel
import numpy as np
import SimpleITK

print(f"nibabel {nibabel.__version__}, SimpleITK {SimpleITK.Version_VersionString()}")
scanner = np.diag([2.0, 2.0, 2.0, 1.0])
aligned = scanner.copy()
aligned[:3, 3] = [10, 20, 30]
origins = {}
for code in (1, 2):
    scan = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), None)
    scan.set_qform(scanner, 1)
    scan.set_sform(aligned, code)
    nibabel.save(scan, "scan.nii")
    itk = SimpleITK.ReadImage("scan.nii").GetOrigin()
    # ITK's first two axes point the other way: left and posterior
    origins[code] = nibabel.load("scan.nii").affine[:3, 3].tolist(), [0 - itk[0], 0 - itk[1], itk[2]]
    print(f"sform of code {code}: first voxel at {origins[code][0]} by nibabel, at {origins[code][1]} by SimpleITK")
print("expected by guess: one place")
if origins != {1: ([10, 20, 30], [10, 20, 30]), 2: ([10, 20, 30], [0, 0, 0])}:
    sys.exit("changed: expected equal places for code 1, the sform's and the qform's for code 2")
print("found: code 1 has one place, code 2 has two")
PYTHON
