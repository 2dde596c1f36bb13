"""The steps of a method's prediction over the query, as values: maps, and points, boxes, a graph and regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from torch import Tensor

from fsbench.data.batch import EpisodeBatch

Step = TypeVar("Step")


@dataclass(frozen=True)
class Sketch:
    """Points, boxes, a graph or regions to be drawn over the query image, to show a step of a method's prediction.

    Each of them may be missing. Coordinates are fractions of the image's width and height, x before y. Points, boxes
    and pixels of one group have one color; groups are numbered from 1, and 0 means off the object.

    Attributes:
        points: (n, 2) float, coordinates.
        groups: (n,) int, the group of each point; all points are in group 1 if empty.
        edges: (e, 2) int, pairs of row numbers of `points`, each an arrow from the first to the second.
        boxes: (m, 4) float, x0, y0, x1, y1.
        box_groups: (m,) int, the group of each box; all boxes are in group 1 if empty.
        regions: (h, w) int, the group of each pixel, 0 for no group; None for no regions.
        values: (h, w) float, a map drawn below everything else, in colors from its least to its largest value; None for
            no map.
    """

    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    edges: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))
    box_groups: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    regions: np.ndarray | None = None
    values: np.ndarray | None = None


@runtime_checkable
class HasQueryMaps(Protocol):
    """A method that can show the steps of a prediction as maps over the query, or as points, boxes and graphs."""

    def query_maps(self, episode: EpisodeBatch) -> Mapping[str, Tensor | Sketch]:
        """Return the steps of the method's prediction of an episode, in order: {name: map or sketch}.

        A map (h, w) of floats is drawn in colors from its least to its largest value, a map of int64 as regions with a
        color for each number, a map of bool as a mask. A picture (h, w, 3) uint8, such as the network's input, is shown
        unchanged. A `Sketch` holds points, boxes or graphs.
        """


def join_ways(ways: Sequence[Mapping[str, Step]]) -> dict[str, Step]:
    """Join the {name: map or sketch} of several ways into one dict; with several ways, names get the way's number.

    >>> join_ways([{"points": 3}]), join_ways([{"points": 3}, {"points": 5}])
    ({'points': 3}, {'points 1': 3, 'points 2': 5})
    """
    return {
        f"{name} {way}" if len(ways) > 1 else name: step
        for way, steps in enumerate(ways, 1)
        for name, step in steps.items()
    }


def stacked_regions(masks: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return masks (n, H, W) bool drawn into one map (H, W) int64 of group numbers, larger masks below smaller ones.

    Args:
        masks: the masks.
        groups: (n,) int, the number that each mask is drawn with; masks with 0 are left out.
    """
    regions = np.zeros(masks.shape[1:], np.int64)
    for k in np.argsort(-masks.sum((1, 2)), kind="stable"):
        if groups[k] > 0:
            regions[masks[k]] = groups[k]
    return regions


def share_box(mask: np.ndarray) -> np.ndarray:
    """Return x0, y0, x1, y1 (4,) of a mask's box as fractions of width and height; zeros if the mask is empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return np.zeros(4)
    height, width = mask.shape
    return np.array([columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height])
