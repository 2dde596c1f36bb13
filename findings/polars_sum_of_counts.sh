#!/usr/bin/env bash
# Guess: a sum of integers that are stored in 32 bits is as wide as numpy's: 64 bits. Polars itself widens sums of 8
#   and 16 bits.
# Found: the sum of an Int32 or UInt32 column keeps its type and wraps around, alone and in a group_by. The mean of
#   the same column is right.
# Hurts: whoever keeps pixel counts in 32 bits to save space: 2.1 billion pixels are 8200 images of 512 x 512, and a
#   summed area is negative or too small without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.2.6 polars==1.44.2
venv/bin/python -I - <<'PYTHON'
import sys

import numpy as np
import polars as pl

print(f"polars {pl.__version__}, numpy {np.__version__}")
images = 20_000
pixels = [512 * 512] * images
print("expected by guess:", sum(pixels), "from each type")
sums, others = {}, []
for kind in (pl.UInt32, pl.Int32, pl.Int64):
    column = pl.Series("pixels", pixels, dtype=kind)
    grouped = pl.DataFrame({"fold": [0] * images, "pixels": column}).group_by("fold").agg(pl.col("pixels").sum())
    sums[str(kind)] = column.sum()
    others += [grouped["pixels"][0] == column.sum(), column.mean() == 512 * 512]
    print(f"found: {kind} {column.sum()}, by group_by {grouped['pixels'][0]}, by numpy {column.to_numpy().sum()}; mean {column.mean()}")
short = pl.Series([2**15 - 1, 1], dtype=pl.Int16).sum()
print(f"found: Int16 is widened, 32767 + 1 = {short}")
wrapped = 5_242_880_000 - 2**32
if sums != {"UInt32": wrapped, "Int32": wrapped, "Int64": 5_242_880_000} or short != 2**15 or not all(others):
    sys.exit("changed: expected sums of 32 bits that are wrapped around, also by group_by, and right means")
PYTHON
