"""Supports with a share of their object: how many cells stay, which, and what is said of the rest."""

from itertools import pairwise

import numpy as np
import pytest

from fsbench.data.kept_support import CELLS, keep_share


def labels(side: int) -> np.ndarray:
    """A rectangle of 16 x 8 cells, one column of cells of void, background elsewhere."""
    cells = np.zeros((CELLS, CELLS), np.uint8)
    cells[8:24, 4:12], cells[:, 20] = 1, 255
    at = np.arange(side) * CELLS // side
    return cells[at][:, at]


@pytest.mark.parametrize("side", [32, 100, 224, 700])
@pytest.mark.parametrize(("share", "cells"), [(1e-6, 1), (0.01, 1), (0.02, 3), (0.1, 13), (0.5, 64), (0.999, 128)])
def test_a_share_of_the_objects_cells_stays(side, share, cells):
    whole = labels(side)
    kept = keep_share(whole, share, (7, 0, 0))
    at = (np.arange(CELLS) * side + side // 2) // CELLS  # a pixel of every cell
    assert (kept[at][:, at] == 1).sum() == cells
    assert np.array_equal(kept[whole != 1], whole[whole != 1])
    assert set(np.unique(kept[whole == 1])) <= {1, 255}
    assert np.array_equal(kept[at][:, at], keep_share(labels(32), share, (7, 0, 0)))  # the same cells at every side


def test_what_a_smaller_share_keeps_a_larger_one_keeps_too():
    whole = labels(100)
    kept = [keep_share(whole, share, (3, 1)) == 1 for share in (0.01, 0.05, 0.25, 0.7, 1)]
    assert all((less <= more).all() for less, more in pairwise(kept))
    assert np.array_equal(kept[-1], whole == 1)
    assert not np.array_equal(keep_share(whole, 0.5, (3, 1)), keep_share(whole, 0.5, (4, 1)))
    assert keep_share(np.zeros((9, 9), np.uint8), 0.5, (0,)).max() == 0  # smaller than the cells, without the object
