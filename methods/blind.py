"""Support-blind baselines: what a mask scores that follows from the query alone (cd-fss-protocol §9, §10).

They ignore the supports, K and the class, so every image has one mask. A method that does not beat them on a data set
has learned nothing from its supports there. Steps are those of §10; all arithmetic is float64.

Shapes: (H, W) the image as the method sees it.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fsbench.base.errors import SettingsError
from fsbench.core.outputs import Output
from fsbench.core.segmenter import Segmenter
from fsbench.core.shots import Way
from fsbench.data.label_maps import resize_labels
from fsbench.networks.backbones.base import BackboneConfig, NoBackbone

BORDER, WINDOW, RIDGE = 0.08, 0.02, 1e-3
"""Shares of a side that the border and the half window have, and what is added to the colours' variances (§10)."""
BINS, FLAT, TIE = 256, 1e-12, 1e-12
"""Bins of Otsu's histogram, range of an image without saliency, and relative difference of equal maxima (§10)."""


def centre_coordinates(height: int, width: int, device: Any = None) -> tuple[Tensor, Tensor]:
    """Return the coordinates of pixel centres, from -1 to 1 over the image: u (1, W) along x, v (H, 1) along y."""
    columns, rows = (torch.arange(n, dtype=torch.float64, device=device) for n in (width, height))
    return 2 * (columns[None] + 0.5) / width - 1, 2 * (rows[:, None] + 0.5) / height - 1


def centre_mask(height: int, width: int, radius: float, device: Any = None) -> Tensor:
    """Return the mask (H, W) bool of an ellipse around the image's centre, with semi-axes of `radius` half sides."""
    u, v = centre_coordinates(height, width, device)
    return u**2 + v**2 <= radius**2


def border(height: int, width: int, device: Any = None) -> Tensor:
    """Return the mask (H, W) bool of the pixels along the border of an image."""
    rows, columns = (max(1, int(BORDER * n + 0.5)) for n in (height, width))
    mask = torch.ones(height, width, dtype=torch.bool, device=device)
    mask[rows : height - rows, columns : width - columns] = False
    return mask


def saliency(image: Tensor, sigma: float | None) -> Tensor:
    """Return a saliency map (H, W) float64: how far each pixel's colour is from the colours of the image's border.

    Args:
        image: (3, H, W) colours in [0, 1], not normalised.
        sigma: width of a Gaussian around the centre that weighs the map; None leaves it unweighted.
    """
    x = image.double()
    height, width = x.shape[1:]
    colours = x[:, border(height, width, x.device)].T
    mean = colours.mean(0)
    away = colours - mean
    covariance = away.T @ away / len(colours)
    inverse = torch.linalg.inv(covariance + RIDGE * torch.eye(3, dtype=torch.float64, device=x.device))
    difference = x - mean[:, None, None]
    distance = torch.einsum("ihw,ij,jhw->hw", difference, inverse, difference).clamp(min=0).sqrt()
    half = max(1, int(WINDOW * min(height, width) + 0.5))
    padded = F.pad(distance[None, None], (half,) * 4, mode="replicate")
    smooth = F.avg_pool2d(padded, 2 * half + 1, stride=1)[0, 0]
    if sigma is None:
        return smooth
    u, v = centre_coordinates(height, width, x.device)
    return smooth * torch.exp(-(u**2 + v**2) / (2 * sigma**2))


def otsu_threshold(values: np.ndarray) -> float:
    """Return Otsu's threshold of `values` (H, W) float64: the centre of the last histogram bin of the background.

    If all values are the same, their common value is returned.
    """
    least, most = float(values.min()), float(values.max())
    if most - least < FLAT:
        return most
    counts = np.histogram(values, BINS, (least, most))[0].astype(float)
    centres = least + (np.arange(BINS) + 0.5) * (most - least) / BINS
    below, moment = counts.cumsum()[:-1], (counts * centres).cumsum()
    above = counts.sum() - below
    means = moment[:-1] / np.maximum(below, 1), (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    variance = below * above * (means[0] - means[1]) ** 2
    # empty bins make plateaus
    return float(centres[np.flatnonzero(variance >= variance.max() * (1 - TIE))[0]])


def saliency_mask(image: Tensor, sigma: float | None) -> Tensor:
    """Return the mask (H, W) bool of the pixels whose saliency is above Otsu's threshold.

    `image` is (3, H, W) in [0, 1]; `sigma` is the width of the Gaussian centre weight, None for no weight.
    """
    values = saliency(image, sigma)
    return values > otsu_threshold(values.cpu().numpy())  # nowhere, if all values are the same


class Blind(Segmenter):
    """Base of baselines that ignore the supports and segment the query by a fixed rule.

    Args:
        backbone: settings of a backbone, which are accepted but not used.
        rule: "saliency" for pixels whose colour differs from the image's border, "centre" for an ellipse around the
            centre, "full" for every pixel.
        radius: semi-axes of the ellipse, as shares of half the image's sides.
        sigma: width of the Gaussian around the centre by which saliency is weighted; None for no weighting.
    """

    backbone_type: ClassVar[Any] = NoBackbone
    learns = False
    raw_images = sees_pixels = True
    sees_supports = False
    depends_on_way_order = True

    def __init__(
        self,
        backbone: BackboneConfig,
        rule: Literal["saliency", "centre", "full"] = "saliency",
        radius: float = 0.6,
        sigma: float | None = 0.6,
    ):
        super().__init__(backbone)
        if sigma is not None and not sigma > 0:
            raise SettingsError(f"sigma is {sigma}, expected more than 0, or null for no weights")
        if not radius > 0:
            raise SettingsError(f"radius is {radius}, expected more than 0")
        self.rule = rule
        self.radius = radius
        self.sigma = sigma

    def query(self, image: Tensor) -> Tensor:
        """Return the foreground mask (S, S) bool that the baseline's rule finds in an image (1, 3, S, S) uint8."""
        return self.mask(image[0].double() / 255)

    def join(self, supports: Iterator[Any]) -> None:
        """Return None without reading the supports, which the baseline ignores."""

    def segment(self, query: Tensor, support: None) -> Tensor:
        """Return the query's mask (S, S) bool unchanged, in place of logits."""
        return query

    def read(self, outputs: Iterator[Output], size: tuple[int, int], attention: list[Tensor] | None = None) -> Way:
        """Resize the query's mask to `size` (h, w) by nearest neighbour; every class of the episode gets this mask."""
        (output,) = outputs
        labels = resize_labels(output.logits.cpu().numpy().astype(np.uint8), *size)
        found = torch.from_numpy(labels).to(output.logits.device) > 0
        return Way(found.float(), found)

    def mask(self, image: Tensor) -> Tensor:
        """Return the foreground mask (H, W) bool of an image (3, H, W) in [0, 1] by the configured rule."""
        height, width = image.shape[1:]
        if self.rule == "full":
            return torch.ones(height, width, dtype=torch.bool, device=image.device)
        if self.rule == "centre":
            return centre_mask(height, width, self.radius, image.device)
        return saliency_mask(image, self.sigma)
