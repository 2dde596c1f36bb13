"""Binary masks from coarse ones: what a method saw before its decoder (dcama.md §12, "intermediate masks")."""

import numpy as np
import torch
from torch import Tensor

from fsbench.preprocess import resize_labels


def binary_sum(coarse: Tensor, size: tuple[int, int]) -> tuple[float, Tensor]:
    """Sum coarse masks (L, h, w) over their blocks, split at Otsu's threshold, resize.

    The threshold is the centre of one of 256 bins between the least and the greatest value; foreground is above it. A
    constant map has no foreground.

    Returns:
        the threshold, and the mask (H, W) uint8.
    """
    from skimage.filters import threshold_otsu

    summed = coarse.detach().float().cpu().sum(0).double().numpy()  # bins of nearly equal values need fp64
    if summed.min() == summed.max():
        return float(summed.flat[0]), torch.zeros(size, dtype=torch.uint8)
    threshold = float(threshold_otsu(summed, nbins=256))
    return threshold, torch.from_numpy(resize_labels((summed > threshold).astype(np.uint8), *size))
