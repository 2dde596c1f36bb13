#!/usr/bin/env bash
# Guess: a transposed numpy array is saved as it is, or refused as torch's non-contiguous tensors are.
# Found: safetensors 0.8.0 writes the memory behind the array under the array's shape: another matrix is loaded. 0.7.0
#   saved it rightly.
# Hurts: whoever converts weights between frameworks, which means to transpose linear layers and kernels: right names
#   and shapes, wrong values, chance scores.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6
for pinned in safetensors=={0.7.0,0.8.0}; do
  venv/bin/pip install --quiet --no-deps --target "${pinned#*==}" "$pinned"
done
venv/bin/python -I - <<'PYTHON'
import subprocess, sys

SAVE = """
import numpy as np
from safetensors.numpy import load_file, save_file
weight = np.arange(6.0).reshape(2, 3)
save_file({"weight": weight.T, "copied": np.ascontiguousarray(weight.T)}, "weights.safetensors")
loaded = load_file("weights.safetensors")
print(loaded["weight"].astype(int).tolist(), loaded["copied"].astype(int).tolist(), sep=";")
"""
right, scrambled = [[0, 3], [1, 4], [2, 5]], [[0, 1], [2, 3], [4, 5]]
found = {}
print("expected by guess:", right, "or an error")
for version in ("0.7.0", "0.8.0"):
    answer = subprocess.run([sys.executable, "-c", SAVE], env={"PYTHONPATH": version}, capture_output=True, text=True, check=True)
    found[version], copied = answer.stdout.strip().split(";")
    print(f"found: safetensors {version} {found[version]}, of a contiguous copy {copied}")
if found != {"0.7.0": str(right), "0.8.0": str(scrambled)}:
    sys.exit("changed: expected the right matrix of 0.7.0 and another one of 0.8.0")
PYTHON
