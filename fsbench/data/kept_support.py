"""Supports of which only a share of the object is labelled, to see how much of it a method needs.

An image is divided into CELLS x CELLS cells, whatever its side, so that all methods are told the same. Of the cells
that show the object a share stays, at least one; the object's other pixels become void: nothing is said of them. Cells
are dropped in one random order, so that what a smaller share keeps is part of what a larger one keeps.
"""

from collections.abc import Sequence

import numpy as np

from fsbench.data.dataset import VOID

CELLS = 32
"""Cells along a side of the image; on 700 pixels one is a little more than a patch and a half of a ViT-S/14."""


def keep_share(labels: np.ndarray, share: float, seed: Sequence[int]) -> np.ndarray:
    """Return the label map of a support with a share of its object.

    Args:
        labels: (S, S) uint8 of 1 (the way's class), 0 and 255 (void).
        share: above 0, up to 1; cells are rounded to the nearest number, halves up.
        seed: numbers of 0 or more that the order of the cells follows from alone.

    Returns:
        (S, S) uint8; `labels` itself for a share of 1 and where there is no object.
    """
    if share == 1:
        return labels
    height, width = labels.shape
    rows, columns = np.arange(height) * CELLS // height, np.arange(width) * CELLS // width
    cell = rows[:, None] * CELLS + columns
    shown = np.unique(cell[labels == 1])
    if not shown.size:
        return labels
    order = np.random.default_rng(list(seed)).permutation(CELLS * CELLS)  # of all cells: the same at every side
    ranked = shown[np.argsort(order[shown])]
    is_kept = np.zeros(CELLS * CELLS, bool)
    is_kept[ranked[: max(int(share * shown.size + 0.5), 1)]] = True
    return np.where((labels == 1) & ~is_kept[cell], np.uint8(VOID), labels)
